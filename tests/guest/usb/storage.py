"""`disk`: a USB stick, and the readers of the muxes: bulk-only mass storage with one medium that comes
and goes. Commands as in SPC and SBC, sense keys likewise.

Options: `size` (64M) or `file`. The card is a sparse file, DIR/NAME.img unless `file` says otherwise.

Settings of a disk:
    present          whether there is a medium; False takes it away
    size             bytes of the medium
    write_protected
    error_at         byte at which reads and writes fail with a medium error; None: nowhere
    sync_errors      how many SYNCHRONIZE CACHE fail; those after them succeed. The kernel sends them to a disk
                     whose `cache_type` in sysfs says that it has a cache, and does not repeat one that fails so
    hang_at          byte at which a write is not answered until this changes
    unplug_at        byte at which a read or a write pulls the disk
    eject_at         byte at which a read or a write finds that the medium was taken out
    rate             bytes a second that are written; None: as fast as it goes
    read_delay       seconds that each read takes longer

Events: `medium` (present), `sync` (failed), `hangs` (at), `written` (first and last byte of all writes in a
row; told when the row ends).
"""
import asyncio
import os
import re
import struct

from device import BULK, HIGH, Device, Gone, Interface, Stall

BLOCK = 512
# Sense keys, additional sense codes.
NOTHING = (0, 0, 0)
NO_MEDIUM = (2, 0x3a, 0)
READ_ERROR, WRITE_ERROR = (3, 0x11, 0), (3, 0x0c, 0)
# Not repeated by the kernel, as most medium errors are (scsi_check_sense in drivers/scsi/scsi_error.c).
NOT_FOUND = (3, 0x14, 0)
BAD_OPCODE, OUT_OF_RANGE, BAD_FIELD = (5, 0x20, 0), (5, 0x21, 0), (5, 0x24, 0)
MEDIUM_CHANGED = (6, 0x28, 0)
PROTECTED = (7, 0x27, 0)


def size_of(text):
    number, unit = re.fullmatch(r'(\d+)([KMG]?)', str(text)).groups()
    return int(number) << {'': 0, 'K': 10, 'M': 20, 'G': 30}[unit]


class Disk(Device):
    vid, pid, product, speed = 0x0781, 0x5581, 'Ultra', HIGH
    nodes = {'sd': 1}
    inquiry = (b'rigd    ', b'Stick           ')
    SETTINGS = ('present', 'size', 'write_protected', 'error_at', 'sync_errors', 'hang_at', 'unplug_at', 'eject_at', 'rate',
                'read_delay')

    def __init__(self, name, directory, serial=None, size='64M', file=None):
        super().__init__(name, serial)
        path = file or f'{directory}/{name}.img'
        if not file:
            with open(path, 'wb') as made:
                made.truncate(size_of(size))
        self.file = open(path, 'r+b', buffering=0)
        self.size = os.path.getsize(path)
        self.present, self.write_protected, self.sync_errors = True, False, 0
        self.error_at = self.hang_at = self.unplug_at = self.eject_at = self.rate = None
        self.read_delay, self.row = 0, None
        self.reset()
        self.seen = None

    def reset(self):
        # What waits to be read by the host: bytes, or the exception that a transfer ends with.
        self.answers, self.sense, self.writing = asyncio.Queue(), NOTHING, None
        # Whether a read is under way.
        self.reading = False

    def plugged(self):
        self.reset()
        self.seen = None

    def state(self):
        return {'medium': self.medium()}

    def medium(self):
        """Whether the host can see one."""
        return self.present

    def changed(self, key):
        if key in ('size', 'write_protected'):
            self.seen = False

    def interfaces(self, packet):
        return [Interface((8, 6, 0x50), [(0x81, BULK, packet, 0), (0x02, BULK, packet, 0)])]

    async def request(self, setup, data):
        # Of the class: the number of units, and the reset after a failed transfer.
        if setup.type == 0xa1 and setup.request == 0xfe:
            return b'\0'
        return await super().request(setup, data)

    async def control(self, setup, data):
        if setup.type == 0x21 and setup.request == 0xff:
            self.reset()
            return b''
        raise Stall

    async def bulk_in(self, endpoint, length):
        return await self.answers.get()

    async def bulk_out(self, endpoint, data):
        if self.writing:
            await self.data(data)
            return
        signature, tag, want, flags, _, length = struct.unpack('<4sIIBBB', data[:15])
        if signature != b'USBC':
            raise Stall
        await self.command(data[15:15 + length], tag, want, bool(flags & 0x80))

    # --- commands ---

    async def command(self, cdb, tag, want, inward):
        if await self.vendor(cdb, tag, want, inward):
            return None
        operation, here = cdb[0], self.medium()
        if operation not in (0x03, 0x12) and self.seen != here:
            # Told once after the change.
            told, self.seen = self.seen is not None and here, here
            self.event('medium', present=here)
            if told:
                return self.refuse(MEDIUM_CHANGED, tag, want, inward)
        if operation not in (0x03, 0x12, 0x1a, 0x5a, 0x1b, 0x1e) and not here:
            return self.refuse(NO_MEDIUM, tag, want, inward)
        match operation:
            case 0x00 | 0x1b | 0x1e:
                return self.finish(tag, want)
            case 0x35:
                self.settle()
                failed = self.sync_errors > 0
                self.sync_errors -= failed
                self.event('sync', failed=failed)
                return self.refuse(NOT_FOUND, tag, want, inward) if failed else self.finish(tag, want)
            case 0x12 if not cdb[1] & 1:
                return self.reply(b'\0\x80\x05\x02\x1f\0\0\0' + b''.join(self.inquiry) + b'1.0 ', tag, want)
            case 0x12:
                return self.refuse(BAD_FIELD, tag, want, inward)
            case 0x03:
                key, code, qualifier = self.sense
                self.sense = NOTHING
                return self.reply(bytes([0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, code, qualifier, 0, 0, 0, 0]), tag, want)
            case 0x1a:
                return self.reply(bytes([3, 0, 0x80 * self.write_protected, 0]), tag, want)
            case 0x5a:
                return self.reply(bytes([0, 6, 0, 0x80 * self.write_protected, 0, 0, 0, 0]), tag, want)
            case 0x25:
                return self.reply(struct.pack('>II', self.size // BLOCK - 1, BLOCK), tag, want)
            case 0x28 | 0x2a:
                block, count = struct.unpack('>xxIxH', cdb[:9])
                return await self.transfer(operation == 0x2a, block * BLOCK, count * BLOCK, tag, want, inward)
        return self.refuse(BAD_OPCODE, tag, want, inward)

    async def vendor(self, cdb, tag, want, inward):
        """A command of the maker's own: True if it was one."""

    async def transfer(self, write, at, length, tag, want, inward):
        if at + length > self.size:
            return self.refuse(OUT_OF_RANGE, tag, want, inward)
        if write and self.write_protected:
            return self.refuse(PROTECTED, tag, want, inward)
        if write:
            self.writing = [at, length, tag, NOTHING]
            return None

        def within(place):
            return place is not None and at <= place < at + length

        if within(self.unplug_at):
            self.unplug_at = None
            raise Gone
        if within(self.eject_at):
            self.eject_at, self.present = None, False
            return self.refuse(NO_MEDIUM, tag, want, inward)
        if within(self.error_at):
            return self.refuse(READ_ERROR, tag, want, inward)
        self.reading = True
        try:
            await asyncio.sleep(self.read_delay)
        finally:
            self.reading = False
        self.file.seek(at)
        return self.reply(self.file.read(length), tag, want)

    async def data(self, data):
        """A part of a write."""
        at, left, tag, sense = self.writing
        end = at + len(data)

        def within(place):
            return place is not None and at <= place < end

        # What was refused is only received.
        if sense == NOTHING:
            if within(self.unplug_at):
                self.unplug_at = None
                raise Gone
            if within(self.hang_at):
                self.event('hangs', at=self.hang_at)
                async with self.told:
                    await self.told.wait_for(lambda: not within(self.hang_at))
            if within(self.eject_at):
                self.eject_at, self.present = None, False
            if self.rate:
                await asyncio.sleep(len(data) / self.rate)
            sense = NO_MEDIUM if not self.medium() else WRITE_ERROR if within(self.error_at) else NOTHING
        if sense == NOTHING:
            self.file.seek(at)
            self.file.write(data)
            self.note(at, end)
        self.writing = [end, left - len(data), tag, sense]
        if left <= len(data):
            self.writing = None
            if sense == NOTHING:
                self.finish(tag, 0)
            else:
                self.sense = sense
                self.status(tag, 0, True)

    def note(self, at, end):
        if self.row and self.row[1] == at:
            self.row[1] = end
        else:
            self.settle()
            self.row = [at, end]

    def settle(self):
        if self.row:
            self.event('written', first=self.row[0], last=self.row[1] - 1)
            self.row = None

    # --- answers ---

    def reply(self, data, tag, want):
        data = data[:want]
        self.answers.put_nowait(data)
        self.finish(tag, want - len(data))

    def refuse(self, sense, tag, want, inward):
        self.sense = sense
        if want and inward:
            # A short data stage instead of a stall: both are allowed.
            self.answers.put_nowait(b'')
        elif want:
            # The data comes nevertheless.
            self.writing = [0, want, tag, sense]
            return
        self.status(tag, want, True)

    def finish(self, tag, residue):
        self.status(tag, residue, False)

    def status(self, tag, residue, failed):
        self.answers.put_nowait(struct.pack('<4sIIB', b'USBS', tag, residue, failed))


class Reader(Disk):
    """A card reader behind a mux, which has a `position`: the host sees the card at `host`."""
    inquiry = (b'Generic ', b'Card Reader     ')

    def __init__(self, name, directory, mux, **options):
        super().__init__(name, directory, **options)
        self.mux = mux

    def medium(self):
        return self.present and self.mux.position == 'host'

    def busy(self):
        """Whether the host is in the middle of a transfer from or to the card."""
        return self.reading or self.writing is not None


KINDS = {'disk': lambda name, directory, **options: [Disk(name, directory, **options)]}
