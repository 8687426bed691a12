"""`dutlink`: a DUTLink, 2b23:1012: power and storage mux by requests to its vendor interface, and a
console (CDC ACM) of the same device, whose board is at DIR/NAME.sock; and NAME.stick, which the guest
has as long as the mux is at `host`. Options and settings of a disk; `serial` is the board's.

    41h 01h  0 off, 1 on, 2 force-off, 3 force-on, 4 rescue
    41h 02h  0 off, 1 host, 2 dut
    41h 00h  refresh
    C1h 04h  0 version, 1 power, 2 voltage, 3 current: text

Settings: `power_text`, what it answers when it is asked for its power.
Events: `power` (state), `position`, and of the console `dtr`, `rts` (on), `line` (rate, bits, parity,
stop), `break` (ms), `sent` (bytes), `board`.
"""
import struct

from device import BULK, FULL, INTERRUPT, Device, Interface, Stall
from ftdi import Wire
from storage import Disk

POWER = ['off', 'on', 'force-off', 'force-on', 'rescue']
POSITIONS = ['off', 'host', 'dut']


class DutLink(Device):
    vid, pid, product, speed = 0x2b23, 0x1012, 'DUTLink', FULL
    manufacturer = 'Red Hat Inc.'
    # Interfaces belong together by an association.
    triple = (0xef, 2, 1)
    nodes = {'ttyACM': 1}
    SETTINGS = ('power_text',)

    def __init__(self, name, directory, serial=None):
        super().__init__(name, serial)
        self.wire = Wire(f'{directory}/{name}.sock', self.event)
        self.position, self.power, self.power_text, self.modem = 'off', 'off', None, 0
        self.coding = struct.pack('<IBBB', 115200, 0, 0, 8)
        self.pending = b''

    async def start(self):
        await self.wire.start()

    def state(self):
        return {'power': self.power, 'position': self.position}

    def interfaces(self, packet):
        association = bytes([8, 11, 0, 2, 2, 2, 1, 0])
        functional = bytes([5, 0x24, 0, 0x10, 1, 5, 0x24, 1, 0, 1, 4, 0x24, 2, 6, 5, 0x24, 6, 0, 1])
        return [
            Interface((2, 2, 1), [(0x83, INTERRUPT, 8, 10)], functional, association),
            Interface((0x0a, 0, 0), [(0x81, BULK, packet, 0), (0x02, BULK, packet, 0)]),
            Interface((255, 1, 1), []),
        ]

    async def bulk_in(self, endpoint, length):
        if endpoint == 3:
            return await super().bulk_in(endpoint, length)
        if not self.pending:
            self.pending = await self.wire.from_board.get()
        data, self.pending = self.pending[:length], self.pending[length:]
        return data

    async def bulk_out(self, endpoint, data):
        await self.wire.to_board(data)
        self.event('sent', bytes=len(data))

    async def control(self, setup, data):
        if setup.type in (0x21, 0xa1):
            return self.line(setup, data)
        if setup.index != 2:
            raise Stall
        match (setup.type, setup.request):
            case (0x41, 0):
                return b''
            case (0x41, 1) if setup.value < len(POWER):
                self.power = POWER[setup.value]
                self.event('power', state=self.power)
                return b''
            case (0x41, 2) if setup.value < len(POSITIONS):
                self.position = POSITIONS[setup.value]
                self.event('position', position=self.position)
                self.stick.plug() if self.position == 'host' else self.stick.unplug()
                return b''
            case (0xc1, 4) if setup.value < 4:
                return self.values()[setup.value].encode()
        raise Stall

    def values(self):
        volts, amperes = ('5.10V', '0.30A') if self.power in ('on', 'force-on') else ('0.00V', '0.00A')
        return ['1.00', self.power_text or f'{volts} {amperes}', volts, amperes]

    def line(self, setup, data):
        match (setup.type, setup.request):
            case (0x21, 0x20):
                self.coding = data
                rate, stop, parity, bits = struct.unpack('<IBBB', data)
                self.event('line', rate=rate, bits=bits, parity='NOEMS'[parity], stop=(1, 1.5, 2)[stop])
                return b''
            case (0xa1, 0x21):
                return self.coding
            case (0x21, 0x22):
                for bit, name in ((1, 'dtr'), (2, 'rts')):
                    if (setup.value ^ self.modem) & bit:
                        self.event(name, on=bool(setup.value & bit))
                self.modem = setup.value
                return b''
            case (0x21, 0x23):
                self.event('break', ms=setup.value)
                return b''
        raise Stall


class Stick(Disk):
    starts_plugged = False


def dutlink(name, directory, serial=None, **options):
    board = DutLink(name, directory, serial)
    board.stick = Stick(f'{name}.stick', directory, **options)
    return [board, board.stick]


KINDS = {'dutlink': dutlink}
