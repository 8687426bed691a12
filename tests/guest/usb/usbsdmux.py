"""`usbsdmux`: a USB-SD-Mux of Linux Automation: a Microchip USB2642 card reader, 0424:4041, whose I2C
bus has a PCA9536 with four outputs that switch the card. The bus is reached by vendor commands over
SCSI, which work without a medium (Microchip's "I2C over USB" guide DS50002283; the meaning of the four
outputs is that of the maker's program `usbsdmux`):

    CFh 23h ADDRESS 00 LENGTH(2) ...                    write LENGTH bytes of the data stage
    CFh 22h ADDRESS ADDRESS|1 LENGTH(2) COUNT BYTES...  write COUNT bytes, read LENGTH

    output 0: data off, 1: power off, 2: board (else host), 3: no card in the reader

Options and settings of a disk. Events beside those of a disk: `i2c` (address, written, read: bytes in
hexadecimal), `position` (host, dut, off).
"""
from storage import BAD_FIELD, Reader

ADDRESS = 0x41
INPUT, OUTPUT, POLARITY, DIRECTION = range(4)
DATA_OFF, POWER_OFF, BOARD, NO_CARD = 1, 2, 4, 8


class UsbSdMux(Reader):
    vid, pid, product = 0x0424, 0x4041, 'usb-sd-mux_rev1'
    manufacturer = 'Linux Automation GmbH'
    inquiry = (b'LinuxAut', b'usb-sd-mux_rev1 ')

    def __init__(self, name, directory, **options):
        # As the chip starts: all are inputs, which are pulled up.
        self.registers = [0xff, 0xff, 0, 0xff]
        self.position, self.writing_bus = 'off', None
        super().__init__(name, directory, mux=self, **options)

    def reset(self):
        super().reset()
        self.writing_bus = None

    def state(self):
        return {'position': self.position, 'medium': self.medium()}

    def medium(self):
        return super().medium() and not self.pins() & NO_CARD

    def pins(self):
        return self.registers[OUTPUT] & ~self.registers[DIRECTION] | self.registers[DIRECTION] & 0xff

    async def bulk_out(self, endpoint, data):
        if not self.writing_bus:
            return await super().bulk_out(endpoint, data)
        address, length, tag, collected, left = self.writing_bus
        collected += data
        self.writing_bus[4] = left = left - len(data)
        if left > 0:
            return None
        self.writing_bus = None
        self.event('i2c', address=address >> 1, written=collected[:length].hex(), read='')
        if address >> 1 != ADDRESS:
            self.sense = BAD_FIELD
            return self.status(tag, 0, True)
        self.set(collected[:length])
        return self.finish(tag, 0)

    async def vendor(self, cdb, tag, want, inward):
        if cdb[0] != 0xcf:
            return False
        length = cdb[4] << 8 | cdb[5]
        if cdb[1] == 0x23 and want and not inward:
            self.writing_bus = [cdb[2], length, tag, bytearray(), want]
        elif cdb[1] == 0x22 and inward:
            written = cdb[7:7 + cdb[6]]
            if cdb[2] >> 1 != ADDRESS or len(written) != 1:
                self.event('i2c', address=cdb[2] >> 1, written=written.hex(), read='')
                self.refuse(BAD_FIELD, tag, want, inward)
                return True
            self.registers[INPUT] = self.pins()
            read = bytes([self.registers[written[0] & 3]] * length)
            self.event('i2c', address=cdb[2] >> 1, written=written.hex(), read=read.hex())
            self.reply(read + b'\0' * (want - length), tag, want)
        else:
            self.refuse(BAD_FIELD, tag, want, inward)
        return True

    def set(self, written):
        if len(written) == 2:
            self.registers[written[0] & 3] = written[1]
        pins = self.pins()
        position = 'off' if pins & (DATA_OFF | POWER_OFF) else 'dut' if pins & BOARD else 'host'
        if position != self.position:
            self.position = position
            self.event('position', position=position)


KINDS = {'usbsdmux': lambda name, directory, **options: [UsbSdMux(name, directory, **options)]}
