"""Lists in pages of a given size: the command line of that version has no flag for it, and reads pages of 100."""

import json

from jumpstarter.client.grpc import ClientService
from jumpstarter.config.client import ClientConfigV1Alpha1


def exporters(page_size):
    return pages("ListExporters", lambda config: config.list_exporters(page_size=int(page_size)).exporters)


def leases(page_size):
    return pages("ListLeases", lambda config: config.list_leases(page_size=int(page_size)).leases)


def pages(call, read):
    """The names that were read, and how many calls that took."""
    original, count = getattr(ClientService, call), 0

    async def counted(*args, **kwargs):
        nonlocal count
        count += 1
        return await original(*args, **kwargs)

    setattr(ClientService, call, counted)
    try:
        names = [one.name for one in read(ClientConfigV1Alpha1.load("default"))]
    finally:
        setattr(ClientService, call, original)
    return json.dumps({"names": names, "pages": count})
