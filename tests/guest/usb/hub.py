"""`hub`: a hub with power switching, for requests of the hub class (USB 2.0 chapter 11.24, USB 3.2
chapter 10.16). Nothing can be behind it: vhci_hcd cannot reach it. Where an effect is to be seen,
`run --hub` has QEMU's.

Options: `ports` (4), `power`: `individual`, `ganged` or `none`; `usb3=1`: the device NAME is the half for
USB 2 and NAME.3 the one for USB 3, companions of each other as those of one chip.

Events beside the requests: `port` (number, power).
"""
import struct
import uuid

from device import HIGH, INTERRUPT, SUPER, Device, Interface, Stall

POWER = 8
CHARACTERISTICS = {'individual': 0x0009, 'ganged': 0x0000, 'none': 0x0002}


class Hub(Device):
    vid, pid, product, speed = 0x05e3, 0x0610, 'USB2.1 Hub', HIGH
    manufacturer = 'GenesysLogic'
    # With one transaction translator.
    triple = (9, 0, 1)

    def __init__(self, name, ports=4, power='individual', serial=None):
        super().__init__(name, serial)
        self.kind, self.power = CHARACTERISTICS[power], [False] * int(ports)

    def reset(self):
        self.power = [False] * len(self.power)

    def state(self):
        return {'power': self.power}

    def interfaces(self, packet):
        # A bit for the hub and each of up to seven ports.
        return [Interface((9, 0, 0), [(0x81, INTERRUPT, 2 if self.speed == SUPER else 1, 12)])]

    def hub_descriptor(self):
        ports = len(self.power)
        if self.speed == SUPER:
            return struct.pack('<BBBHBBBHH', 12, 0x2a, ports, self.kind, 50, 0, 0, 0, 0)
        return struct.pack('<BBBHBBBB', 9, 0x29, ports, self.kind, 50, 0, 0, 0xff)

    async def control(self, setup, data):
        port = (setup.index & 0xff) - 1
        match (setup.type, setup.request):
            case (0xa0, 6):
                return self.hub_descriptor()
            case (0xa0, 0):
                return bytes(4)
            case (0xa3, 0) if 0 <= port < len(self.power):
                return struct.pack('<HH', self.port_status(self.power[port]), 0)
            case (0x23, 3 | 1) if 0 <= port < len(self.power):
                if setup.value == POWER:
                    self.power[port] = setup.request == 3
                    self.event('port', number=port + 1, power=self.power[port])
                return b''
            # Of the hub itself: features, depth; of translators: clear and reset.
            case (0x20, _) | (0x23, 8 | 9):
                return b''
        raise Stall

    def port_status(self, powered):
        if self.speed == SUPER:
            # Power, and the link that looks for a device or is off.
            return 0x02a0 if powered else 0x0080
        return 0x0100 if powered else 0


class Hub3(Hub):
    pid, product, speed = 0x0626, 'USB3.1 Hub', SUPER
    triple = (9, 0, 3)


def hub(name, directory, usb3='0', **options):
    if usb3 == '0':
        return [Hub(name, **options)]
    halves = [Hub(name, **options), Hub3(f'{name}.3', **options)]
    for half in halves:
        half.container = uuid.uuid5(uuid.NAMESPACE_URL, name).bytes
        half.serial = options.get('serial', 'T' + name.upper())
    return halves


KINDS = {'hub': hub}
