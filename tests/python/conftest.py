"""Fixtures of all cases: the released client, the facts that the harness hands in, and the peer's name.

The harness sets JUMPSTARTER_HOST as `jmp shell` would, and TEST_DIR, TEST_PORT and TEST_PORT2, with which it
also filled in the exporter's file. RIGD_TEST_PEER=python says that the released exporter is under test.
"""

import os
from pathlib import Path

import pytest
from jumpstarter.client.core import DriverError
from jumpstarter.utils.env import env

from cards import BEFORE, CARD
from waiting import until

PEER = os.environ.get("RIGD_TEST_PEER", "rigd")


def pytest_collection_modifyitems(items):
    for item in items:
        mark = item.get_closest_marker("differs")
        if mark and PEER == "python":
            item.add_marker(pytest.mark.skip(reason=mark.args[0]))


@pytest.fixture
def client():
    with env() as root:
        yield root


@pytest.fixture
def work():
    """The directory of this one test."""
    return Path(os.environ["TEST_DIR"])


@pytest.fixture
def port():
    """A free port; the exporter's `tcp` and `udp` instances lead there."""
    return int(os.environ["TEST_PORT"])


@pytest.fixture
def port2():
    """A free port; the exporter's `websocket` instance leads there."""
    return int(os.environ["TEST_PORT2"])


@pytest.fixture
def card(client, work):
    """The file that is the card of `storage`. The instance was absent while there was no file."""
    path = work / "card.img"
    path.write_bytes(BEFORE * CARD)

    def there():
        try:
            client.storage.host()
        except DriverError:
            return False
        return True

    until(there, "the card is found", deadline=30, pause=0.2)
    return path
