"""`ftdi`: an FT232R, for the kernel's ftdi_sio: a console, and a chip of four GPIO lines on its CBUS
pins. The board is whoever is connected to the unix socket DIR/NAME.sock; without anybody the last
64 KiB are kept for the next. Requests and their values are those that drivers/usb/serial/ftdi_sio.h
of the kernel describes.

Events: `dtr` and `rts` (on), `baud` (rate), `format` (bits, parity, stop), `break` (on), `flow`
(control: none, rts_cts, dtr_dsr, xon_xoff), `latency` (ms), `pins` (mode, mask), `sent` (bytes),
`board` (connected).

Settings: `cts`, `dsr`, `dcd`, `ri`: what the board drives. `line_errors`: bits of the line status
that come once with the next data: 2 overrun, 4 parity, 8 framing, 16 break. `silence`: whether the
board's data is kept back, so that reads get nothing but status.
Other behaviour: `answer` with `only`, see device.py.
"""
import asyncio
import os

from device import BULK, Device, Interface, Stall

EIGHTHS = [0, 4, 2, 1, 3, 5, 6, 7]
KEPT = 64 << 10


class Wire:
    """The other end of a console."""

    def __init__(self, path, event):
        self.path, self.event = path, event
        self.from_board, self.kept, self.boards = asyncio.Queue(32), bytearray(), set()

    async def start(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        await asyncio.start_unix_server(self.board, self.path)

    async def board(self, reader, writer):
        self.boards.add(writer)
        writer.write(self.kept)
        self.kept.clear()
        self.event('board', connected=True)
        try:
            while data := await reader.read(4096):
                await self.from_board.put(data)
        except ConnectionError:
            pass
        self.boards.discard(writer)
        self.event('board', connected=False)
        writer.close()

    async def to_board(self, data):
        if not self.boards:
            self.kept += data
            del self.kept[:-KEPT]
        for board in list(self.boards):
            board.write(data)
            try:
                await board.drain()
            except ConnectionError:
                pass


class Ftdi(Device):
    vid, pid, bcd, product = 0x0403, 0x6001, 0x0600, 'FT232R USB UART'
    manufacturer = 'FTDI'
    nodes = {'ttyUSB': 1}
    SETTINGS = ('cts', 'dsr', 'dcd', 'ri', 'line_errors', 'silence')

    def __init__(self, name, directory, serial=None):
        super().__init__(name, serial)
        self.wire = Wire(f'{directory}/{name}.sock', self.event)
        self.cts = self.dsr = self.dcd = True
        self.ri = self.silence = False
        self.line_errors, self.pending, self.stirred = 0, b'', asyncio.Event()
        self.plugged()

    def plugged(self):
        self.modem, self.broken, self.pins, self.latency, self.flow = {}, False, 0, 16, 0

    async def start(self):
        await self.wire.start()

    def state(self):
        return {'dtr': self.modem.get('dtr'), 'rts': self.modem.get('rts'), 'break': self.broken, 'pins': self.pins}

    def changed(self, key):
        self.stirred.set()

    def interfaces(self, packet):
        return [Interface((255, 255, 255), [(0x81, BULK, packet, 0), (0x02, BULK, packet, 0)])]

    def status(self):
        lines = ((0x10, self.cts), (0x20, self.dsr), (0x40, self.ri), (0x80, self.dcd))
        return bytes([1 | sum(bit for bit, on in lines if on), 0x60 | self.line_errors])

    async def bulk_in(self, endpoint, length):
        # Each packet begins with the status; the kernel reads several of them at once.
        if not self.pending:
            await self.wait_for_data()
        count = 62 * (length // 64)
        data, self.pending = self.pending[:count], self.pending[count:]
        head = self.status()
        if data:
            self.line_errors = 0
        packets = [head + data[at:at + 62] for at in range(0, len(data), 62)]
        return b''.join(packets) or head

    async def wait_for_data(self):
        self.stirred.clear()
        if self.silence:
            await self.stirred.wait()
            return
        get = asyncio.ensure_future(self.wire.from_board.get())
        stir = asyncio.ensure_future(self.stirred.wait())
        try:
            await asyncio.wait([get, stir], return_when=asyncio.FIRST_COMPLETED)
            if get.done():
                self.pending = get.result()
        finally:
            get.cancel()
            stir.cancel()

    async def bulk_out(self, endpoint, data):
        # RTS/CTS: the chip holds what the board does not want.
        while self.flow & 0x100 and not self.cts:
            self.stirred.clear()
            await self.stirred.wait()
        await self.wire.to_board(data)
        self.event('sent', bytes=len(data))

    async def control(self, setup, data):
        value, index = setup.value, setup.index
        if setup.type == 0xc0:
            match setup.request:
                case 5:
                    return self.status()
                case 10:
                    return bytes([self.latency])
                case 12:
                    return bytes([self.pins & 0x0f])
                case 0x90:
                    # Word 10 says what the CBUS pins are for: all of them GPIO.
                    return b'\xaa\xaa' if index == 10 else b'\0\0'
            raise Stall
        if setup.type != 0x40:
            raise Stall
        match setup.request:
            case 0:
                pass
            case 1:
                for bit, name in ((1, 'dtr'), (2, 'rts')):
                    if value & bit << 8:
                        self.modem[name] = bool(value & bit)
                        self.event(name, on=bool(value & bit))
            case 2:
                self.flow = index & 0xff00
                names = {0: 'none', 0x100: 'rts_cts', 0x200: 'dtr_dsr', 0x400: 'xon_xoff'}
                self.event('flow', control=names.get(self.flow))
            case 3:
                whole, frac = value & 0x3fff, EIGHTHS[value >> 14 | (index & 1) << 2]
                self.event('baud', rate={0: 3000000, 1: 2000000}.get(whole) or round(3e6 / (whole + frac / 8)))
            case 4:
                if (broken := bool(value & 1 << 14)) != self.broken:
                    self.broken = broken
                    self.event('break', on=broken)
                self.event('format', bits=value & 0xff, parity='NOEMS'[value >> 8 & 7],
                           stop=(1, 1.5, 2)[value >> 11 & 3])
            case 9:
                self.latency = value
                self.event('latency', ms=value)
            case 11:
                self.pins = value & 0xff if value >> 8 == 0x20 else self.pins
                self.event('pins', mode=value >> 8, mask=value & 0xff)
            case _:
                raise Stall
        return b''


KINDS = {'ftdi': lambda name, directory, **options: [Ftdi(name, directory, **options)]}
