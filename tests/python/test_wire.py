"""The check list of the wire contract, seen by a bare gRPC client: at least one case for each line."""

import json
import os
import socket
from importlib import import_module
from uuid import UUID

import grpc
import pytest
from grpc import StatusCode
from jumpstarter.utils.env import env
from jumpstarter_protocol import jumpstarter_pb2, router_pb2

from images import MIB
from wire import FRAME_MAX, LEASE_READY, Stream, Wire, code, value

LABEL_CLIENT = "jumpstarter.dev/client"
LABEL_NAME = "jumpstarter.dev/name"
SYSTEM_OR_DRIVER = {1, 4}


@pytest.fixture
def wire():
    return Wire()


def test_report_over_a_unix_socket_with_its_path_as_authority(wire):
    host = os.environ["JUMPSTARTER_HOST"]
    assert host.startswith("/") and "/" in host[1:], "the authority must need percent-encoding"
    assert len(wire.report().reports) > 10
    with env() as client:
        assert "power" in client.children


def test_report_when_the_authority_is_sent_as_it_is():
    channel = grpc.insecure_channel(
        f"unix://{os.environ['JUMPSTARTER_HOST']}", options=[("grpc.default_authority", "localhost")]
    )
    assert Wire(channel).report().reports


def test_stream_headers_come_before_any_frame(wire):
    for stream in [
        wire.driver_stream(wire.uuid("echo")),
        wire.driver_stream(wire.uuid("loop")),
        wire.resource(wire.uuid("mux")),
    ]:
        stream.headers()
        stream.cancel()


def half_closed(wire, close):
    stream = wire.driver_stream(wire.uuid("echo"))
    stream.headers()
    stream.send(b"first")
    assert stream.read(5) == b"first"
    stream.send(b"last")
    close(stream)
    assert b"".join(stream.frames()) == b"last"
    stream.cancel()


def test_half_close_by_goaway(wire):
    half_closed(wire, Stream.goaway)


def test_half_close_by_end_of_stream(wire):
    half_closed(wire, Stream.half_close)


def test_half_close_by_both(wire):
    def both(stream):
        stream.goaway()
        stream.half_close()

    half_closed(wire, both)


def test_half_close_leaves_the_other_direction_open(wire, port):
    with socket.create_server(("127.0.0.1", port)) as server:
        stream = wire.driver_stream(wire.uuid("tcp"))
        peer, _ = server.accept()
        with peer:
            peer.settimeout(20)
            stream.send(b"question")
            stream.goaway()
            stream.half_close()
            assert peer.makefile("rb").read() == b"question"
            peer.sendall(b"answer" * 100_000)
        assert b"".join(stream.frames()) == b"answer" * 100_000
        stream.cancel()


def test_half_close_by_the_device_leaves_the_other_direction_open(wire, port):
    with socket.create_server(("127.0.0.1", port)) as server:
        stream = wire.driver_stream(wire.uuid("tcp"))
        peer, _ = server.accept()
        with peer:
            peer.settimeout(20)
            peer.sendall(b"hello")
            peer.shutdown(socket.SHUT_WR)
            assert b"".join(stream.frames()) == b"hello"
            stream.send(b"still here")
            stream.goaway()
            stream.half_close()
            assert peer.makefile("rb").read() == b"still here"
        stream.cancel()


def test_cancel_is_a_normal_end(wire, port):
    with socket.create_server(("127.0.0.1", port)) as server:
        stream = wire.driver_stream(wire.uuid("tcp"))
        peer, _ = server.accept()
        with peer:
            peer.settimeout(20)
            stream.headers()
            stream.cancel()
            assert peer.recv(1) == b"", "the connection to the device is over too"
    assert wire.call(wire.uuid("power"), "on")


def test_control_frames_are_no_data(wire):
    stream = wire.driver_stream(wire.uuid("echo"))
    stream.send(b"a")
    stream.send(b"ignored?", router_pb2.FRAME_TYPE_PING)
    stream.send(b"b")
    assert stream.read(2) == b"ab"
    stream.cancel()


def test_resource_handle_and_headers(wire):
    for encoding in ["gzip", "xz", "bz2", "zstd"]:
        stream = wire.resource(wire.uuid("mux"), encoding)
        headers = stream.headers()
        handle = json.loads(headers["resource"])
        assert set(handle) == {"kind", "uuid", "x_jmp_content_encoding"}
        assert handle["kind"] == "client_stream"
        assert UUID(handle["uuid"])
        assert handle["x_jmp_content_encoding"] == encoding
        assert headers["x_jmp_accept_encoding"] == encoding
        stream.cancel()


def test_resource_without_compression(wire):
    for request in [
        {"kind": "resource", "uuid": wire.uuid("mux"), "x_jmp_content_encoding": None},
        {"kind": "resource", "uuid": wire.uuid("mux")},
        {"kind": "resource", "uuid": wire.uuid("mux"), "x_extra": 1},
    ]:
        stream = wire.stream(json.dumps(request))
        headers = stream.headers()
        assert json.loads(headers["resource"])["x_jmp_content_encoding"] is None
        assert headers.get("x_jmp_accept_encoding", "") == ""
        stream.cancel()


def test_reports_are_in_order_and_name_existing_clients(wire):
    reports = wire.report().reports
    assert not reports[0].HasField("parent_uuid") and LABEL_NAME not in reports[0].labels
    assert reports[0].description == "instruments under test"
    seen = {reports[0].uuid}
    for report in reports[1:]:
        assert report.HasField("parent_uuid") and report.parent_uuid in seen
        assert report.labels[LABEL_NAME]
        seen.add(report.uuid)
    for report in reports:
        assert str(UUID(report.uuid)) == report.uuid
        module, name = report.labels[LABEL_CLIENT].rsplit(".", 1)
        assert getattr(import_module(module), name)
    top = [r.labels[LABEL_NAME] for r in reports[1:] if r.parent_uuid == reports[0].uuid]
    assert top[:5] == ["power", "sync_power", "group", "alias", "group_alias"], "children as configured"


def test_report_carries_texts_and_labels(wire):
    [power] = [r for r in wire.report().reports if r.uuid == wire.uuid("power")]
    assert power.description == "feeds the board"
    assert dict(power.methods_description) == {"on": "switches the board on"}
    assert power.labels["rack"] == "7"
    assert power.labels[LABEL_CLIENT] == "jumpstarter_driver_power.client.PowerClient"


def test_an_alias_repeats_the_uuids(wire):
    names = ["group.inner.power", "alias", "group_alias.inner.power"]
    uuids = [r.uuid for r in wire.report().reports if r.labels[LABEL_NAME] in ("power", "alias")]
    shared = wire.uuid("alias")
    assert uuids.count(shared) == len(names)


def test_frames_stay_below_the_clients_limit(wire):
    data = os.urandom(9 * MIB)
    uuid = wire.uuid("mux")
    wire.upload(uuid, data)
    stream = wire.resource(uuid)
    handle = json.loads(stream.headers()["resource"])
    stream.goaway()
    stream.half_close()
    dump = wire.exporter.DriverCall.future(
        jumpstarter_pb2.DriverCallRequest(uuid=uuid, method="read", args=[value(handle)]), timeout=20
    )
    frames = list(stream.frames())
    dump.result()
    assert b"".join(frames) == data
    assert max(map(len, frames)) <= FRAME_MAX // 4


def test_a_frame_of_three_mebibytes_is_taken(wire):
    stream = wire.driver_stream(wire.uuid("echo"))
    data = os.urandom(3 * MIB)
    stream.send(data)
    assert stream.read(len(data)) == data
    stream.cancel()


def test_a_message_over_four_mebibytes_is_refused(wire):
    status, text = code(lambda: wire.call(wire.uuid("power"), "on", "x" * (5 * MIB)))
    assert status in (StatusCode.RESOURCE_EXHAUSTED, StatusCode.OUT_OF_RANGE)
    assert "4194304" in text
    assert wire.call(wire.uuid("power"), "on"), "the connection goes on"


def test_a_frame_over_four_mebibytes_ends_only_its_stream(wire):
    other = wire.driver_stream(wire.uuid("echo"))
    other.send(b"before")
    assert other.read(6) == b"before"
    stream = wire.driver_stream(wire.uuid("echo"))
    stream.headers()
    stream.send(bytes(5 * MIB))
    status, _ = code(lambda: list(stream.call))
    assert status in (StatusCode.RESOURCE_EXHAUSTED, StatusCode.OUT_OF_RANGE)
    other.send(b"after")
    assert other.read(5) == b"after"
    other.cancel()


def lines_until(logs, last):
    lines = []
    for line in logs:
        lines.append(line)
        if line.message == last:
            return lines
    raise AssertionError(f"the stream ended before {last!r}")


def test_a_late_reader_gets_the_last_256_lines(wire):
    power = wire.uuid("power")
    for _ in range(300):
        wire.call(power, "on")
    wire.call(power, "off")
    lines = lines_until(wire.logs(), "power off")
    assert 200 <= len(lines) <= 256
    assert sum(line.message == "power on" for line in lines) >= 200


@pytest.mark.differs("readers of the Python exporter steal each other's lines")
def test_log_lines_name_their_source(wire):
    wire.call(wire.uuid("power"), "off")
    lines = lines_until(wire.logs(), "power off")
    assert all(line.HasField("source") and line.source in SYSTEM_OR_DRIVER for line in lines)
    assert lines[-1].source == 1 and lines[-1].severity == "INFO" and lines[-1].uuid == ""


@pytest.mark.differs("readers of the Python exporter steal each other's lines")
def test_two_readers_both_get_every_line(wire):
    power = wire.uuid("power")
    readers = [wire.logs(), Wire().logs()]
    for _ in range(50):
        wire.call(power, "on")
    wire.call(power, "off")
    for reader in readers:
        lines = lines_until(reader, "power off")
        assert [line.message for line in lines if line.source == 1] == ["power on"] * 50 + ["power off"]


def test_status_versions_in_direct_mode(wire):
    first, second = wire.status(), wire.status()
    assert first.status == second.status == LEASE_READY
    assert first.HasField("message")
    assert second.status_version == first.status_version, "a version stands for a change"
