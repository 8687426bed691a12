"""Relay boards and switched hubs that call themselves HID. Each event `report` has the bytes of a report
that the host wrote, in hexadecimal, and each `relay` (number, on) what it did.

`noyito`, 140b:07d7, option `channels` (4 or 8): reports of A0 CHANNEL STATE SUM switch; A0 0F 02 B1
asks, and the answer is text, `CH1:ON ` and so on, nine bytes a channel.

`hid-relay`, 16c0:05df, option `channels` (2): feature reports of eight bytes. FF n switches n on, FD n
off, FE all on, FC all off; read, it has the serial number (five characters) and the states in its last
byte. The product's name is `USBRelayN`.

`ykush`, 04d8:f2f7, which Linux has among those that its HID drivers leave alone (hid_ignore_list of
hid-quirks.c), so that it is for usbfs: a report of 64 bytes has the command in its first one: 1n on, 0n off, n 1 to 3 or Ah
for all; 2n asks. Its answer: 01, then the command or, when asked, 1n or 0n.

Settings: `text`, what a `noyito` answers when it is asked.
"""
import asyncio

from device import INTERRUPT, Device, Interface, Stall



def report_descriptor(**sizes):
    """Of a vendor's own usage: `inputs`, `outputs` and `features` bytes."""
    head = bytes.fromhex('0600ff0901a101150026ff007508')
    items = {'inputs': 0x81, 'outputs': 0x91, 'features': 0xb1}
    body = b''.join(bytes([0x95, size, 0x09, 1, items[kind], 2]) for kind, size in sizes.items())
    return head + body + b'\xc0'


class Hid(Device):
    nodes = {'hidraw': 1}
    report = b''
    has_output = True

    def __init__(self, name, serial=None):
        super().__init__(name, serial)
        self.answers = asyncio.Queue()

    def plugged(self):
        self.answers = asyncio.Queue()

    def interfaces(self, packet):
        endpoints = [(0x81, INTERRUPT, packet, 10)]
        if self.has_output:
            endpoints.append((0x02, INTERRUPT, packet, 10))
        return [Interface((3, 0, 0), endpoints, self.class_descriptor())]

    def class_descriptor(self):
        return bytes([9, 0x21, 0x11, 1, 0, 1, 0x22, len(self.report), 0])

    def descriptor(self, kind, index, where):
        match kind:
            case 0x21:
                return self.class_descriptor()
            case 0x22:
                return self.report
        return super().descriptor(kind, index, where)

    async def control(self, setup, data):
        match (setup.type, setup.request):
            case (0x21, 10):
                return b''
            case (0x21, 9):
                self.event('report', kind=setup.value >> 8, data=data.hex())
                self.written(data)
                return b''
            case (0xa1, 1):
                return self.asked(setup)
        raise Stall

    async def bulk_out(self, endpoint, data):
        self.event('report', kind=2, data=data.hex())
        self.written(data)

    async def bulk_in(self, endpoint, length):
        return await self.answers.get()

    def asked(self, setup):
        raise Stall

    def written(self, data):
        raise NotImplementedError


class Relays(Hid):
    def __init__(self, name, serial=None, channels=4):
        super().__init__(name, serial)
        self.on = [False] * int(channels)

    def state(self):
        return {'on': self.on}

    def switch(self, channel, on):
        """Of those that it has, from 1."""
        if 1 <= channel <= len(self.on):
            self.on[channel - 1] = on
            self.event('relay', number=channel, on=on)

    def switch_all(self, on):
        for channel in range(1, len(self.on) + 1):
            self.switch(channel, on)


class Noyito(Relays):
    vid, pid, product, manufacturer = 0x140b, 0x07d7, 'USB Relay', 'NOYITO'
    report = report_descriptor(inputs=64, outputs=64)
    SETTINGS = ('text',)
    text = None

    def written(self, data):
        if len(data) < 4 or data[0] != 0xa0 or sum(data[:3]) & 0xff != data[3]:
            return
        if data[1:3] == b'\x0f\x02':
            text = ''.join(f'CH{i + 1}:{"ON " if on else "OFF"}\r\n' for i, on in enumerate(self.on))
            text = (text if self.text is None else self.text).encode()
            for at in range(0, max(len(text), 1), 64):
                self.answers.put_nowait(text[at:at + 64].ljust(64, b'\0'))
        elif data[2] < 2:
            self.switch(data[1], data[2] == 1)


class HidRelay(Relays):
    vid, pid, manufacturer = 0x16c0, 0x05df, 'www.dcttech.com'
    report = report_descriptor(features=8)
    has_output = False

    def __init__(self, name, serial='ABCDE', channels=2):
        super().__init__(name, '', channels)
        self.product, self.number = f'USBRelay{channels}', serial

    def asked(self, setup):
        states = sum(1 << at for at, on in enumerate(self.on) if on)
        return self.number.encode().ljust(7, b'\0')[:7] + bytes([states])

    def written(self, data):
        match data[0]:
            case 0xff:
                self.switch(data[1], True)
            case 0xfd:
                self.switch(data[1], False)
            case 0xfe:
                self.switch_all(True)
            case 0xfc:
                self.switch_all(False)


class Ykush(Relays):
    vid, pid, product, manufacturer = 0x04d8, 0xf2f7, 'YKUSH', 'Yepkit Lda.'
    nodes = {}
    report = report_descriptor(inputs=64, outputs=64)

    def __init__(self, name, serial=None):
        super().__init__(name, serial, 3)
        self.on = [True] * 3

    def written(self, data):
        kind, port = data[0] >> 4, data[0] & 0x0f
        answer = data[0]
        if kind == 2 and 1 <= port <= 3:
            answer = self.on[port - 1] << 4 | port
        elif kind < 2 and port == 0x0a:
            self.switch_all(kind == 1)
        elif kind < 2:
            self.switch(port, kind == 1)
        self.answers.put_nowait(bytes([1, answer]).ljust(64, b'\0'))


KINDS = {
    'noyito': lambda name, directory, **options: [Noyito(name, **options)],
    'hid-relay': lambda name, directory, **options: [HidRelay(name, **options)],
    'ykush': lambda name, directory, **options: [Ykush(name, **options)],
}
