"""A NOYITO relay board behind the released client, on a pseudo terminal in the place of its serial port."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from jumpstarter.client.core import DriverMethodNotImplemented
from waiting import until

ON = {1: "a00101a2", 2: "a00201a3"}
OFF = {1: "a00100a1", 2: "a00200a2"}


@pytest.fixture
def orders():
    """What the board was told since it was asked before, without the questions for its state."""
    path = Path(os.environ["TEST_DIR"], "relay.heard")
    seen = 0

    def news(count):
        nonlocal seen
        told = []

        def there():
            nonlocal told
            told = [line for line in path.read_text().splitlines()[seen:] if line != "ff"]
            return len(told) >= count

        until(there, f"{count} orders at the board")
        seen = len(path.read_text().splitlines())
        return told

    return news


def test_relay_on_and_off(client, orders):
    client.first.on()
    assert orders(1) == [ON[1]]
    client.first.off()
    assert orders(1) == [OFF[1]]
    client.second.on()
    assert orders(1) == [ON[2]]
    client.second.off()
    assert orders(1) == [OFF[2]]


def test_relay_all_channels_one_after_the_other(client, orders):
    client.both.on()
    assert orders(2) == [ON[1], ON[2]]
    client.both.off()
    assert orders(2) == [OFF[1], OFF[2]]


def test_relay_cycle(client, orders):
    client.first.cycle(wait=0)
    assert orders(2) == [OFF[1], ON[1]]


def test_relay_status(client):
    assert client.both.status() == "off"
    client.second.on()
    assert (client.first.status(), client.second.status()) == ("off", "on")
    assert client.both.status() == "partial"
    client.first.on()
    assert client.both.status() == "on"


def test_relay_status_of_the_command_line(client):
    client.first.on()
    said = CliRunner().invoke(client.cli(), ["first", "status"])
    assert (said.exit_code, said.output) == (0, "on\n")


def test_relay_reads_nothing(client):
    with pytest.raises(DriverMethodNotImplemented):
        next(client.first.read())
