"""The connection of one emulated device to the guest's vhci_hcd: USB/IP after the attachment, as in
the kernel's Documentation/usb/usbip_protocol.rst.

Transfers of an endpoint are answered in their order, each endpoint for itself, so that one that is
never answered holds up nothing but its own. The host takes a transfer back with an unlink.
"""
import asyncio
import struct

from device import Failed, Gone, Setup, Stall

SUBMIT, UNLINK, SUBMITTED, UNLINKED = 1, 2, 3, 4
EPIPE, ECONNRESET = 32, 104
# The kernel asks for less than 1 MiB at once.
LONGEST = 1 << 20


class Session:
    def __init__(self, device, reader, writer):
        self.device, self.reader, self.writer = device, reader, writer
        self.endpoints, self.waiting, self.current = {}, {}, {}
        self.over = asyncio.get_running_loop().create_future()

    async def run(self):
        reading = asyncio.create_task(self.read())
        try:
            await asyncio.wait([reading, self.over], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in [reading, *(task for _, task in self.endpoints.values())]:
                task.cancel()
            self.writer.transport.abort()

    def end(self):
        """Pulls the plug: what was not answered is not."""
        if not self.over.done():
            self.over.set_result(None)

    async def read(self):
        while True:
            try:
                head = await self.reader.readexactly(48)
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            command, number, _, inward, endpoint = struct.unpack('>5I', head[:20])
            if command == SUBMIT:
                length, = struct.unpack('>I', head[24:28])
                assert length <= LONGEST, length
                data = b'' if inward else await self.reader.readexactly(length)
                self.waiting[number] = (inward, endpoint, length, head[40:48], data)
                key = (0, 0) if endpoint == 0 else (endpoint, inward)
                if key not in self.endpoints:
                    queue = asyncio.Queue()
                    self.endpoints[key] = queue, asyncio.create_task(self.serve(key, queue))
                self.endpoints[key][0].put_nowait(number)
            elif command == UNLINK:
                victim, = struct.unpack('>I', head[20:24])
                known = self.waiting.pop(victim, None)
                task = self.current.pop(victim, None)
                if task:
                    task.cancel()
                status = -ECONNRESET if known or task else 0
                self.writer.write(struct.pack('>IIIIIi24x', UNLINKED, number, 0, 0, 0, status))

    async def serve(self, key, queue):
        while True:
            number = await queue.get()
            transfer = self.waiting.pop(number, None)
            if not transfer:
                continue
            task = asyncio.create_task(self.transfer(*transfer))
            self.current[number] = task
            try:
                status, data = await task
            except asyncio.CancelledError:
                if asyncio.current_task().cancelling():
                    raise
                continue
            finally:
                known = self.current.pop(number, None)
            if status is None:
                self.end()
                return
            if known:
                self.answer(number, transfer, status, data)
                try:
                    await self.writer.drain()
                except ConnectionError:
                    self.end()
                    return

    async def transfer(self, inward, endpoint, length, setup, data):
        device = self.device
        try:
            if endpoint == 0:
                return 0, await device.request(Setup(*struct.unpack('<BBHHH', setup)), data)
            if inward:
                data = await device.bulk_in(endpoint, length)
                await device.gate('in')
                return 0, data
            await device.gate('out')
            await device.bulk_out(endpoint, data)
            return 0, b''
        except Stall:
            return -EPIPE, b''
        except Failed as failed:
            return -failed.number, b''
        except Gone:
            return None, b''

    def answer(self, number, transfer, status, data):
        inward, _, length, _, sent = transfer
        data = bytes(data or b'')[:length] if inward and status == 0 else b''
        moved = len(data) if inward else len(sent) if status == 0 else 0
        head = struct.pack('>IIIIIiiiii8x', SUBMITTED, number, 0, 0, 0, status, moved, 0, 0, 0)
        self.writer.write(head + data)
