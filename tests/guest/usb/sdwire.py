"""`sdwire`: the control chip of an SDWire or SDWireC, an FT200X with `sd-wire` as its product, and
NAME.reader, which has the card when the mux is at `host`. Options of a disk, `serial` is the chip's.

    40h 0Bh, 20F1h or 20F0h     CBUS bit mode: to the host, to the board
    C0h 0Ch                     bit 0: at the host

`sdwire3`: a reader 1209:2404 without a control chip. After a reset of the bus the card is at the board
until the host sends the reader a command; with no driver bound it stays there.

Events beside those of a disk: `position` (position; of `sdwire` also torn: whether a transfer was cut).
"""
from device import BULK, Device, Interface, Stall
from storage import Disk, Reader


class SdWire(Device):
    vid, pid, bcd, product = 0x04e8, 0x6001, 0x1000, 'sd-wire'
    manufacturer = 'SRPOL'

    def __init__(self, name, serial=None):
        super().__init__(name, serial)
        self.position, self.reader = 'dut', None

    def state(self):
        return {'position': self.position}

    def interfaces(self, packet):
        return [Interface((255, 255, 255), [(0x81, BULK, packet, 0), (0x02, BULK, packet, 0)])]

    async def control(self, setup, data):
        match (setup.type, setup.request):
            case (0x40, 0x0b):
                mode, mask = setup.value >> 8, setup.value & 0xff
                if mode == 0x20 and mask & 0x10:
                    self.position = 'host' if mask & 1 else 'dut'
                    self.event('position', position=self.position, torn=self.reader.busy())
                return b''
            case (0xc0, 0x0c):
                return bytes([0xf0 | (self.position == 'host')])
            # Reset, latency and the rest of the chip's.
            case (0x40, _):
                return b''
            case (0xc0, _):
                return b'\0' * min(setup.length, 2)
        raise Stall


class SdWireReader(Reader):
    vid, pid, product = 0x0424, 0x4050, 'Ultra Fast Media Reader'
    manufacturer = 'Generic'


class SdWire3(Disk):
    vid, pid, product = 0x1209, 0x2404, 'SDWire3'
    manufacturer = 'Badgerd Technologies'
    inquiry = (b'Badgerd ', b'SDWireC         ')

    def __init__(self, name, directory, **options):
        self.position = 'dut'
        super().__init__(name, directory, **options)

    def state(self):
        return {'position': self.position}

    def reset(self):
        super().reset()
        self.move('dut')

    def move(self, position):
        if position != self.position:
            self.position = position
            self.event('position', position=position)

    def medium(self):
        return self.present and self.position == 'host'

    async def command(self, cdb, tag, want, inward):
        self.move('host')
        await super().command(cdb, tag, want, inward)


def sdwire(name, directory, serial=None, **options):
    mux = SdWire(name, serial)
    mux.reader = SdWireReader(f'{name}.reader', directory, mux, **options)
    return [mux, mux.reader]


KINDS = {
    'sdwire': sdwire,
    'sdwire3': lambda name, directory, **options: [SdWire3(name, directory, **options)],
}
