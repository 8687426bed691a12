"""What all emulated USB devices share: descriptors, standard requests, the record of what they were
sent, and how they misbehave when the test says so.

A device is asked by `usbip.py` for one transfer at a time on each endpoint:

    control(setup, data) -> bytes      vendor and class requests; the standard ones are answered here
    bulk_out(endpoint, data)           bulk and interrupt
    bulk_in(endpoint, length) -> bytes

and answers with an exception that is the transfer's failure: Stall, Failed, Gone.
"""
import asyncio
import struct
import time
from collections import namedtuple

# Speeds as vhci_hcd's `attach` takes them: enum usb_device_speed, include/uapi/linux/usb/ch9.h.
FULL, HIGH, SUPER = 2, 3, 5
# Events kept of a device: a runaway host costs no more.
KEPT = 20000

Setup = namedtuple('Setup', 'type request value index length')
# `extra` are class descriptors between interface and endpoints, `before` an association; an endpoint
# is (address, attributes, packet size, interval).
Interface = namedtuple('Interface', 'triple endpoints extra before', defaults=(b'', b''))
BULK, INTERRUPT = 2, 3


class Stall(Exception):
    """The device refuses: EPIPE at the host."""


class Failed(Exception):
    """The transfer fails on the bus; the error number of the host, EPROTO unless told otherwise."""

    def __init__(self, number=71):
        super().__init__(number)
        self.number = number


class Gone(Exception):
    """The device is pulled in the middle of the transfer."""


class Device:
    vid = pid = 0
    product = ''
    manufacturer = 'rigd'
    speed = FULL
    bcd = 0x0100
    # Class, subclass and protocol of the device.
    triple = (0, 0, 0)
    # The same for both halves of a USB 3 hub.
    container = None
    # Device files that the guest has when the device is up: prefix and count.
    nodes = {}
    # How the device answers: `normal`; `never`, until told otherwise; `stall`; `error`; `unplug`.
    ANSWERS = ('normal', 'never', 'stall', 'error', 'unplug')

    def __init__(self, name, serial=None):
        self.name = name
        self.serial = serial if serial is not None else 'T' + name.upper()
        self.events = []
        self.log = None
        # Set by the server: drops the connection to the guest.
        self.unplug = lambda: None
        self.answer, self.only, self.after = 'normal', None, 0
        self.told = asyncio.Condition()

    # --- record ---

    def event(self, what, **more):
        if len(self.events) < KEPT:
            record = {'at': round(time.time(), 3), 'device': self.name, 'event': what, **more}
            self.events.append(record)
            if self.log:
                self.log(record)

    def settle(self):
        """Records what was kept back to be told as one event."""

    def state(self):
        """What a look at the device shows."""
        return {}

    # --- misbehaviour ---

    async def configure(self, options):
        """Changes how the device behaves; refuses what it does not know.

        answer  one of ANSWERS
        only    `control`, `in` or `out`: for these transfers; all unless told otherwise
        after   after so many of them
        """
        answer = options.pop('answer', None)
        if answer is not None:
            if answer not in self.ANSWERS:
                raise ValueError(f'answer {answer!r}: one of {self.ANSWERS}')
            self.only, self.after = options.pop('only', None), options.pop('after', 0)
            self.answer = answer
        for key, value in options.items():
            if key not in self.SETTINGS:
                raise ValueError(f'{self.name} has no setting {key!r}: {self.SETTINGS}')
            setattr(self, key, value)
            self.changed(key)
        async with self.told:
            self.told.notify_all()

    SETTINGS = ()

    def changed(self, key):
        """A setting was changed."""

    async def gate(self, kind):
        """Lets a transfer through, or makes it fail as the test wants it."""
        if self.answer == 'normal' or self.only not in (None, kind):
            return
        if self.after > 0:
            self.after -= 1
            return
        match self.answer:
            case 'never':
                async with self.told:
                    await self.told.wait_for(lambda: self.answer != 'never')
                await self.gate(kind)
            case 'stall':
                raise Stall
            case 'error':
                raise Failed
            case 'unplug':
                self.answer = 'normal'
                raise Gone

    # --- the bus ---

    # Whether the guest has it from the start.
    starts_plugged = True

    async def start(self):
        """Before the first connection: opens sockets."""

    def plugged(self):
        """A connection begins: as after power-up."""

    def interfaces(self, packet):
        raise NotImplementedError

    async def control(self, setup, data):
        raise Stall

    async def bulk_in(self, endpoint, length):
        await asyncio.Event().wait()

    async def bulk_out(self, endpoint, data):
        raise Stall

    async def request(self, setup, data):
        """A transfer of endpoint 0."""
        if setup.type & 0x60 == 0:
            return self.standard(setup)
        self.event('control', setup=struct.pack('<BBHHH', *setup).hex(), data=data.hex())
        await self.gate('control')
        return await self.control(setup, data)

    def standard(self, setup):
        if setup.type & 0x80 and setup.request == 6:
            return self.descriptor(setup.value >> 8, setup.value & 0xff, setup.index)
        if setup.type & 0x80 and setup.request == 0:
            return b'\0\0'
        if setup.type == 0x80 and setup.request == 8:
            return b'\x01'
        if setup.type & 0x80:
            raise Stall
        if setup.request == 9:
            # Also after each reset of the bus, of which nothing else comes here.
            self.event('configured', value=setup.value)
            self.reset()
        return b''

    def reset(self):
        """The host has configured the device anew."""

    def descriptor(self, kind, index, where):
        match kind:
            case 1:
                usb = {FULL: 0x0110, HIGH: 0x0210 if self.container else 0x0200, SUPER: 0x0300}[self.speed]
                packet = 9 if self.speed == SUPER else 64
                return struct.pack('<BBHBBBBHHHBBBB', 18, 1, usb, *self.triple, packet,
                                   self.vid, self.pid, self.bcd, 1, 2, 3, 1)
            case 2:
                return self.configuration()
            case 3 if index == 0:
                return b'\x04\x03\x09\x04'
            case 3 if index <= 3:
                text = (self.manufacturer, self.product, self.serial)[index - 1].encode('utf-16-le')
                return bytes([2 + len(text), 3]) + text
            case 15 if self.speed == SUPER or self.container:
                # Capabilities: link power management, speeds, and whose half it is.
                capabilities = [struct.pack('<BBBI', 7, 16, 2, 2)]
                if self.speed == SUPER:
                    capabilities.append(struct.pack('<BBBBHBBH', 10, 16, 3, 0, 0x0e, 1, 10, 255))
                if self.container:
                    capabilities.append(struct.pack('<BBBB', 20, 16, 4, 0) + self.container)
                body = b''.join(capabilities)
                return struct.pack('<BBHB', 5, 15, 5 + len(body), len(capabilities)) + body
        raise Stall

    def configuration(self):
        packet = {FULL: 64, HIGH: 512, SUPER: 1024}[self.speed]
        interfaces, body = self.interfaces(packet), b''
        for number, interface in enumerate(interfaces):
            body += interface.before
            body += struct.pack('9B', 9, 4, number, 0, len(interface.endpoints), *interface.triple, 0)
            body += interface.extra
            for address, attributes, size, interval in interface.endpoints:
                body += struct.pack('<BBBBHB', 7, 5, address, attributes, size, interval)
                if self.speed == SUPER:
                    # Bytes in an interval, for those that have one.
                    body += struct.pack('<BBBBH', 6, 48, 0, 0, size if attributes == INTERRUPT else 0)
        return struct.pack('<BBHBBBBB', 9, 2, 9 + len(body), len(interfaces), 1, 0, 0x80, 50) + body
