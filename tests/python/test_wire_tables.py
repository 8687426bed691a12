"""Values, errors, streams and resources on the wire, row by row of the contract's tables."""

import json
import math
import threading
from uuid import UUID, uuid4

import pytest
from google.protobuf import struct_pb2
from grpc import StatusCode
from jumpstarter_protocol import jumpstarter_pb2

from wire import LEASE_READY, Wire, code, value


@pytest.fixture
def wire():
    return Wire()


# Values.


def test_a_result_of_nothing_is_null(wire):
    answers = [wire.call(wire.uuid("power"), "on") for _ in range(2)]
    assert answers[0].result.WhichOneof("kind") == "null_value"
    assert UUID(answers[0].uuid).version == 4
    assert answers[0].uuid != answers[1].uuid


def test_streamed_items_are_structs(wire):
    items = wire.streaming(wire.uuid("power"), "read")
    assert [dict(item.result.struct_value) for item in items] == [
        {"voltage": 0.0, "current": 0.0},
        {"voltage": 5.0, "current": 2.0},
    ]
    assert len({item.uuid for item in items}) == 2


def test_kinds_of_results(wire):
    files = wire.uuid("files")
    fd = wire.call(files, "open", "f", "wb").result
    assert fd.WhichOneof("kind") == "string_value" and UUID(fd.string_value)
    wire.call(files, "file_close", fd)
    assert wire.call(files, "exists", "f").result.bool_value is True
    stat = wire.call(files, "stat", "f").result.struct_value
    assert stat["content_length"] == 0.0
    assert stat.fields["content_md5"].WhichOneof("kind") == "null_value", "empty fields are there as null"
    assert list(wire.call(files, "get_created_resources").result.list_value) == ["f"]
    fd = wire.call(files, "open", "f", "rb").result
    assert wire.call(files, "file_tell", fd).result.WhichOneof("kind") == "number_value"


def test_numbers_arrive_as_doubles(wire):
    files = wire.uuid("files")
    fd = wire.call(files, "open", "n", "wb").result
    wire.call(files, "file_close", fd)
    fd = wire.call(files, "open", "n", "rb").result
    assert wire.call(files, "file_seek", fd, 0.0, 0.0).result.number_value == 0
    assert wire.call(files, "file_seek", fd, -0.0, 1.0).result.number_value == 0
    status, _ = code(lambda: wire.call(files, "file_seek", fd, 0.5, 0.0))
    assert status == StatusCode.INVALID_ARGUMENT


def test_an_unset_argument_is_null(wire):
    flasher = wire.uuid("flasher")
    upload_to = wire.resource(flasher)
    handle = json.loads(upload_to.headers()["resource"])
    upload_to.send(b"default partition")
    upload_to.goaway()
    wire.call(flasher, "flash", handle, struct_pb2.Value())
    upload_to.cancel()
    stream = wire.resource(flasher)
    handle = json.loads(stream.headers()["resource"])
    stream.goaway()
    wire.call(flasher, "dump", handle, None)
    assert b"".join(stream.frames()) == b"default partition"


def test_numbers_that_are_none_are_refused(wire):
    for bad in [math.nan, math.inf, -math.inf]:
        status, text = code(lambda bad=bad: wire.call(wire.uuid("power"), "on", bad))
        assert status == StatusCode.INVALID_ARGUMENT
        assert ("NaN" if math.isnan(bad) else "Infinity") in text


# Errors.


def test_an_unknown_method(wire):
    power = wire.uuid("power")
    for call in [lambda: wire.call(power, "levitate"), lambda: wire.streaming(power, "levitate")]:
        assert code(call) == (StatusCode.NOT_FOUND, "method levitate not found on driver")
    status = code(lambda: list(wire.driver_stream(power, "levitate").call))
    assert status == (StatusCode.NOT_FOUND, "method levitate not found on driver")


def test_a_method_called_the_wrong_way(wire):
    power = wire.uuid("power")
    assert code(lambda: wire.call(power, "read")) == (
        StatusCode.NOT_FOUND,
        "method read missing marker marker_drivercall",
    )
    assert code(lambda: wire.streaming(power, "on")) == (
        StatusCode.NOT_FOUND,
        "method on missing marker marker_streamingdrivercall",
    )
    assert code(lambda: list(wire.driver_stream(power, "on").call)) == (
        StatusCode.NOT_FOUND,
        "method on missing marker marker_streamcall",
    )


def test_an_unknown_instance(wire):
    for bad in [str(uuid4()), "", "power", "zzzzzzzz-0000-0000-0000-000000000000"]:
        assert code(lambda bad=bad: wire.call(bad, "on"))[0] == StatusCode.UNKNOWN
        assert code(lambda bad=bad: wire.streaming(bad, "read"))[0] == StatusCode.UNKNOWN
        assert code(lambda bad=bad: list(wire.driver_stream(bad).call))[0] == StatusCode.UNKNOWN


def test_an_instance_in_another_spelling(wire):
    power = wire.uuid("power")
    for spelt in [power.upper(), power.replace("-", ""), "{" + power + "}", "urn:uuid:" + power]:
        assert wire.call(spelt, "on")


@pytest.mark.differs("the Python exporter answers UNKNOWN with the interpreter's text")
def test_a_wrong_number_of_arguments(wire):
    assert code(lambda: wire.call(wire.uuid("power"), "on", 1))[0] == StatusCode.INVALID_ARGUMENT
    assert code(lambda: wire.call(wire.uuid("mux"), "write"))[0] == StatusCode.INVALID_ARGUMENT
    assert code(lambda: wire.streaming(wire.uuid("power"), "read", 1))[0] == StatusCode.INVALID_ARGUMENT


def test_an_argument_of_a_wrong_type(wire):
    for args in [(1, "rb"), ("f", "rw"), ("f", None)]:
        status, _ = code(lambda args=args: wire.call(wire.uuid("files"), "open", *args))
        assert status == StatusCode.INVALID_ARGUMENT


@pytest.mark.differs("the Python exporter sends details that its client cannot take")
def test_an_error_text_of_any_length_reaches_the_client(wire):
    status, text = code(lambda: wire.call(wire.uuid("files"), "stat", "x" * 200_000))
    assert status not in (StatusCode.OK, StatusCode.RESOURCE_EXHAUSTED)
    assert len(text) <= 16 * 1024


def test_reset_is_not_implemented(wire):
    status, _ = code(lambda: wire.exporter.Reset(jumpstarter_pb2.ResetRequest(), timeout=20))
    assert status == StatusCode.UNIMPLEMENTED


def test_an_unknown_rpc(wire):
    for path in ["/jumpstarter.v1.ExporterService/Levitate", "/no.such.Service/Call"]:
        call = wire.channel.unary_unary(path)
        assert code(lambda call=call: call(b"", timeout=20)) == (StatusCode.UNIMPLEMENTED, "Method not found!")


def test_end_session_in_direct_mode(wire):
    answer = wire.end_session()
    assert (answer.success, answer.message) == (False, "No active lease context")
    assert wire.status().status == LEASE_READY
    assert wire.call(wire.uuid("power"), "on")


# Streams and resources.


def test_malformed_stream_requests(wire):
    power = wire.uuid("power")
    for bad in [
        None,
        "",
        "{",
        "null",
        "[]",
        '"driver"',
        json.dumps({"kind": "driver"}),
        json.dumps({"kind": "teapot", "uuid": power}),
        json.dumps({"kind": "driver", "uuid": "power", "method": "connect"}),
        json.dumps({"kind": "resource", "uuid": str(uuid4()), "x_jmp_content_encoding": None}),
    ]:
        assert code(lambda bad=bad: list(wire.stream(bad).call))[0] == StatusCode.UNKNOWN, bad
    assert wire.call(power, "on")


def test_a_device_that_cannot_be_opened(wire):
    status, _ = code(lambda: list(wire.driver_stream(wire.uuid("tcp")).call))
    assert status in (StatusCode.UNKNOWN, StatusCode.UNAVAILABLE)


def test_a_resource_is_good_for_one_use(wire):
    uuid = wire.uuid("mux")
    handle = wire.upload(uuid, b"once")
    status, text = code(lambda: wire.call(uuid, "write", handle))
    assert status == StatusCode.UNKNOWN
    assert handle["uuid"] in text


def test_a_resource_belongs_to_its_instance(wire):
    stream = wire.resource(wire.uuid("mux"))
    handle = json.loads(stream.headers()["resource"])
    assert code(lambda: wire.call(wire.uuid("mux_flasher"), "write", handle))[0] == StatusCode.UNKNOWN
    stream.cancel()


def test_an_unknown_encoding_fails_no_later_than_its_use(wire):
    stream = wire.resource(wire.uuid("mux"), "br")

    def use():
        handle = json.loads(stream.headers()["resource"])
        stream.goaway()
        wire.call(wire.uuid("mux"), "write", handle)

    status, _ = code(use)
    assert status in (StatusCode.UNKNOWN, StatusCode.INVALID_ARGUMENT)
    stream.cancel()


@pytest.mark.differs("the Python exporter takes a lost connection for the end of the image")
def test_an_upload_without_its_end_is_an_error(wire):
    uuid = wire.uuid("mux")
    stream = wire.resource(uuid)
    handle = json.loads(stream.headers()["resource"])
    call = wire.exporter.DriverCall.future(
        jumpstarter_pb2.DriverCallRequest(uuid=uuid, method="write", args=[value(handle)]), timeout=20
    )
    stream.send(b"half of an image")
    threading.Timer(0.2, stream.call.cancel).start()
    status, _ = code(call.result)
    assert status not in (StatusCode.OK, StatusCode.DEADLINE_EXCEEDED)
    wire.upload(uuid, b"whole")


def test_a_download_ends_without_waiting_for_the_client(wire):
    uuid = wire.uuid("mux")
    wire.upload(uuid, b"content")
    stream = wire.resource(uuid)
    handle = json.loads(stream.headers()["resource"])
    wire.call(uuid, "read", handle)
    assert b"".join(stream.frames()) == b"content"
    stream.cancel()


def test_twenty_streams_at_once(wire):
    streams = [wire.driver_stream(wire.uuid("echo")) for _ in range(20)]
    for n, stream in enumerate(streams):
        stream.send(f"{n:04}".encode())
    for n, stream in enumerate(streams):
        assert stream.read(4) == f"{n:04}".encode()
        stream.cancel()
