"""Power, composites, proxies and networks behind their released clients."""

import logging
import os
import socket
import threading
import time
from contextlib import contextmanager

import pytest
from jumpstarter.client.core import DriverError, DriverInvalidArgument, DriverMethodNotImplemented
from jumpstarter_driver_network.adapters import PexpectAdapter, TcpPortforwardAdapter, UnixPortforwardAdapter
from jumpstarter_driver_power.common import PowerReading
from websockets.sync.server import serve

from images import MIB
from receiving import receive
from waiting import until

# power


def test_power_on_off_read(client):
    client.power.on()
    client.power.off()
    readings = [PowerReading(voltage=0.0, current=0.0), PowerReading(voltage=5.0, current=2.0)]
    assert list(client.power.read()) == readings
    assert list(client.sync_power.read()) == readings


def test_power_cycle(client):
    started = time.monotonic()
    client.power.cycle(1)
    assert time.monotonic() - started >= 1


def test_power_log_stream(client, caplog):
    caplog.set_level(logging.INFO)
    with client.log_stream():
        client.power.on()
        until(lambda: "power on" in caplog.text, "the line `power on`")
        client.power.off()
        until(lambda: "power off" in caplog.text, "the line `power off`")
    assert {r.name for r in caplog.records if "power o" in r.message} == {"exporter:driver"}


def test_power_without_rescue(client):
    with pytest.raises(DriverMethodNotImplemented, match="method rescue not found on driver"):
        client.power.rescue()


def test_power_unknown_stream(client):
    with pytest.raises(DriverError, match="method levitate not found on driver"):
        list(client.power.streamingcall("levitate"))


# composite and proxy


def test_composite_children(client):
    assert {"power", "group", "echo", "files"} <= set(client.children)
    client.group.inner.power.on()
    with pytest.raises(DriverMethodNotImplemented):
        client.group.call("on")


def test_proxy_is_its_target(client):
    client.alias.on()
    client.group_alias.inner.power.off()
    assert client.alias.uuid == client.group.inner.power.uuid == client.group_alias.inner.power.uuid


# network


def test_echo(client):
    with client.echo.stream() as stream:
        for payload in [b"hello", b"\x00\xff" * 1000, os.urandom(64 * 1024)]:
            stream.send(payload)
            assert receive(stream, len(payload)) == payload


def test_echo_streams_do_not_mix(client):
    with client.echo.stream() as one, client.echo.stream() as two:
        one.send(b"one")
        two.send(b"two")
        assert receive(two, 3) == b"two"
        assert receive(one, 3) == b"one"


@contextmanager
def peer(server):
    """Echoes every connection to a listening socket until its client has sent all."""

    def echo(connection):
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)

    def accept():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=echo, args=(connection,), daemon=True).start()

    with server:
        threading.Thread(target=accept, daemon=True).start()
        yield
        server.shutdown(socket.SHUT_RDWR)


def unix_server(path):
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    return server


def through(connection, data):
    """Sends everything, says so, and returns all that comes back."""
    sender = threading.Thread(target=lambda: (connection.sendall(data), connection.shutdown(socket.SHUT_WR)))
    sender.start()
    answer = b""
    while part := connection.recv(65536):
        answer += part
    sender.join()
    return answer


def test_tcp(client, port):
    data = os.urandom(3 * MIB)
    with peer(socket.create_server(("127.0.0.1", port))):
        with TcpPortforwardAdapter(client=client.tcp) as address:
            with socket.create_connection(address, timeout=20) as connection:
                assert through(connection, data) == data


def test_tcp_twice_at_once(client, port):
    with peer(socket.create_server(("127.0.0.1", port))):
        with TcpPortforwardAdapter(client=client.tcp) as address:
            with socket.create_connection(address, timeout=20) as one:
                with socket.create_connection(address, timeout=20) as two:
                    assert through(two, b"two") == b"two"
                    assert through(one, b"one") == b"one"


def test_tcp_pexpect(client, port):
    with peer(socket.create_server(("127.0.0.1", port))):
        with PexpectAdapter(client=client.tcp) as session:
            session.sendline("hello")
            assert session.expect_exact("hello", timeout=20) == 0


def test_tcp_address(client, port):
    assert client.tcp.address() == f"tcp://127.0.0.1:{port}"
    assert client.udp.address() == f"udp://127.0.0.1:{port}"


def test_address_withheld(client):
    with pytest.raises(DriverInvalidArgument, match="enable_address mode is not true in the exporter configuration"):
        client.tcp_hidden.address()


def test_address_of_a_kind_that_has_none(client):
    for network in [client.unix, client.echo]:
        with pytest.raises(DriverMethodNotImplemented):
            network.address()


def test_websocket_address(client, port2):
    assert client.websocket.address() == f"ws://127.0.0.1:{port2}"


def test_udp(client, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", port))
        server.settimeout(20)
        with client.udp.stream() as stream:
            for datagram in [b"one", b"two datagrams", b"x" * 1400]:
                stream.send(datagram)
                data, sender = server.recvfrom(65536)
                assert data == datagram, "a frame is a datagram"
                server.sendto(data.upper(), sender)
                assert stream.receive() == datagram.upper()


def test_unix(client, work):
    data = os.urandom(MIB)
    with peer(unix_server(work / "peer.sock")):
        with UnixPortforwardAdapter(client=client.unix) as path:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(20)
                connection.connect(str(path))
                assert through(connection, data) == data


@contextmanager
def websocket_server(port, handler):
    with serve(handler, "127.0.0.1", port) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


def test_websocket(client, port2):
    def echo(connection):
        for message in connection:
            connection.send(message)

    with websocket_server(port2, echo):
        with client.websocket.stream() as stream:
            for payload in [b"hello", os.urandom(50_000)]:
                stream.send(payload)
                assert receive(stream, len(payload)) == payload


@pytest.mark.differs("a text message ends the Python exporter's stream")
def test_websocket_text(client, port2):
    def greet(connection):
        connection.send("greetings")
        for message in connection:
            connection.send(message)

    with websocket_server(port2, greet):
        with client.websocket.stream() as stream:
            assert receive(stream, 9) == b"greetings"
            stream.send(b"bytes")
            assert receive(stream, 5) == b"bytes"


def test_a_peer_that_is_not_there(client, port):
    with pytest.raises(Exception):
        with client.tcp.stream() as stream:
            stream.send(b"x")
            stream.receive()
    client.power.on()
