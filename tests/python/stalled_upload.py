"""Begins to write an image through the released client, says `stalled` after 8 MiB, and never goes on.

Argument: the path of the storage instance, such as `dutlink.storage`. The test that starts it kills it.
"""

import operator
import os
import sys

import anyio
from anyio.abc import ObjectStream
from jumpstarter.utils.env import env

CHUNK = 64 * 1024
CHUNKS = 128


class Stalling(ObjectStream[bytes]):
    def __init__(self):
        self.sent = 0

    async def receive(self):
        if self.sent == CHUNKS:
            print("stalled", flush=True)
            await anyio.sleep_forever()
        self.sent += 1
        return os.urandom(CHUNK)

    async def send(self, item):
        pass

    async def send_eof(self):
        pass

    async def aclose(self):
        pass


with env() as client:
    storage = operator.attrgetter(sys.argv[1])(client)
    upload = storage.resource_async(Stalling())
    with storage.portal.wrap_async_context_manager(upload) as handle:
        storage.call("write", handle)
