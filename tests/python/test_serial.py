"""Serial ports behind their released client."""

import os
import subprocess
import sys
import time

import pytest
from anyio import EndOfStream
from jumpstarter.client.core import DriverError
from jumpstarter_driver_network.adapters import PexpectAdapter

from receiving import receive



def test_loop_echo(client):
    with client.loop.stream() as stream:
        stream.send(b"hello")
        assert receive(stream, 5) == b"hello"


def test_open_stream(client):
    stream = client.loop.open_stream()
    stream.send(b"hello")
    assert receive(stream, 5) == b"hello"
    client.loop.close()


def test_open_and_close(client):
    console = client.loop.open()
    console.sendline("hello")
    console.expect_exact("hello")
    client.loop.close()


FORGETFUL = """
import os
from jumpstarter.utils.env import env
with env() as client:
    console = client.tty.open()
    console.sendline("hello")
    console.expect_exact("hello")
    os._exit(0)
"""


def test_forgotten_close(client):
    subprocess.run([sys.executable, "-c", FORGETFUL], check=True, timeout=60)
    with client.tty.stream() as stream:
        stream.send(b"next")
        assert receive(stream, 4) == b"next"


def test_pexpect(client):
    with client.loop.pexpect() as console:
        console.sendline("Linux login:")
        console.expect("login:")
    with PexpectAdapter(client=client.loop) as console:
        console.sendline("again")
        console.expect("again")


def test_cps(client):
    with client.slow_loop.stream() as stream:
        started = time.monotonic()
        stream.send(b"0123456789")
        assert receive(stream, 10) == b"0123456789"
        assert time.monotonic() - started >= 9 / 20, "nine pauses of a twentieth of a second"


def test_cps_of_a_device(client):
    with client.slow_tty.stream() as stream:
        started = time.monotonic()
        stream.send(b"0123456789")
        assert receive(stream, 10) == b"0123456789"
        assert time.monotonic() - started >= 9 / 20, "nine pauses of a twentieth of a second"


def test_cps_of_zero_is_no_limit(client):
    with client.unlimited_loop.stream() as stream:
        data = os.urandom(100_000)
        stream.send(data)
        assert receive(stream, len(data)) == data


def test_close_without_a_stream(client):
    client.tty.call("close")
    client.loop.call("close")


def test_pty(client):
    data = os.urandom(2000)
    with client.tty.stream() as stream:
        stream.send(data)
        assert receive(stream, len(data)) == data


@pytest.mark.differs("the Python exporter leaves the port open until the client's channel closes")
def test_pty_one_stream_after_the_other(client):
    for n in range(5):
        with client.tty.stream() as stream:
            data = f"round {n}".encode()
            stream.send(data)
            assert receive(stream, len(data)) == data


def test_pty_pexpect(client):
    with client.tty.pexpect() as console:
        console.sendline("hello")
        console.expect_exact("hello")


def test_close_ends_the_stream(client):
    with client.tty.stream() as stream:
        stream.send(b"x")
        assert receive(stream, 1) == b"x"
        client.tty.call("close")
        with pytest.raises(EndOfStream):
            stream.receive()
    with client.tty.stream() as stream:
        stream.send(b"y")
        assert receive(stream, 1) == b"y"


def test_lines_of_a_device_without_them(client):
    with pytest.raises(DriverError):
        client.tty.call("set_dtr", True)
