"""Bare gRPC: what the released client never sends, and what it does not show."""

import json
import os
import queue

import grpc
from google.protobuf import empty_pb2, struct_pb2
from jumpstarter_protocol import jumpstarter_pb2, jumpstarter_pb2_grpc, router_pb2, router_pb2_grpc

DEADLINE = 20.0
EMPTY = empty_pb2.Empty()
FRAME_MAX = 4 << 20
CHUNK = 64 * 1024
LEASE_READY = 4


def target(host):
    """gRPC's name for what JUMPSTARTER_HOST holds: a socket path or host:port."""
    return f"unix://{host}" if host.startswith("/") else host


def value(item):
    if item is None:
        return struct_pb2.Value(null_value=0)
    if isinstance(item, bool):
        return struct_pb2.Value(bool_value=item)
    if isinstance(item, (int, float)):
        return struct_pb2.Value(number_value=item)
    if isinstance(item, str):
        return struct_pb2.Value(string_value=item)
    if isinstance(item, dict):
        return struct_pb2.Value(struct_value={"fields": {key: value(inner) for key, inner in item.items()}})
    return struct_pb2.Value(list_value={"values": [value(inner) for inner in item]})


class Wire:
    """One channel to the exporter with both of its services."""

    def __init__(self, channel=None, metadata=()):
        self.channel = channel or grpc.insecure_channel(target(os.environ["JUMPSTARTER_HOST"]))
        self.metadata = tuple(metadata)
        self.exporter = jumpstarter_pb2_grpc.ExporterServiceStub(self.channel)
        self.router = router_pb2_grpc.RouterServiceStub(self.channel)

    def report(self):
        return self.exporter.GetReport(EMPTY, timeout=DEADLINE, metadata=self.metadata)

    def uuid(self, path):
        """The id of the instance at a dotted path."""
        reports = self.report().reports
        node = reports[0]
        for name in path.split("."):
            below = [r for r in reports if r.HasField("parent_uuid") and r.parent_uuid == node.uuid]
            [node] = [r for r in below if r.labels["jumpstarter.dev/name"] == name]
        return node.uuid

    def call(self, uuid, method, *args):
        """The whole DriverCallResponse; arguments that are no Value yet are made one."""
        args = [arg if isinstance(arg, struct_pb2.Value) else value(arg) for arg in args]
        request = jumpstarter_pb2.DriverCallRequest(uuid=uuid, method=method, args=args)
        return self.exporter.DriverCall(request, timeout=DEADLINE, metadata=self.metadata)

    def streaming(self, uuid, method, *args):
        request = jumpstarter_pb2.StreamingDriverCallRequest(
            uuid=uuid, method=method, args=[value(arg) for arg in args]
        )
        return list(self.exporter.StreamingDriverCall(request, timeout=DEADLINE, metadata=self.metadata))

    def upload(self, uuid, data):
        """Writes to a storage mux as the released client does; returns the handle, which is used up."""
        stream = self.resource(uuid)
        handle = json.loads(stream.headers()["resource"])
        for at in range(0, len(data), CHUNK):
            stream.send(data[at : at + CHUNK])
        stream.goaway()
        stream.half_close()
        self.call(uuid, "write", handle)
        return handle

    def status(self):
        return self.exporter.GetStatus(
            jumpstarter_pb2.GetStatusRequest(), timeout=DEADLINE, metadata=self.metadata
        )

    def end_session(self):
        return self.exporter.EndSession(
            jumpstarter_pb2.EndSessionRequest(), timeout=DEADLINE, metadata=self.metadata
        )

    def logs(self):
        return self.exporter.LogStream(EMPTY, timeout=DEADLINE, metadata=self.metadata)

    def stream(self, request):
        return Stream(self, request)

    def driver_stream(self, uuid, method="connect"):
        return Stream(self, json.dumps({"kind": "driver", "uuid": uuid, "method": method}))

    def resource(self, uuid, encoding=None):
        return Stream(
            self, json.dumps({"kind": "resource", "uuid": uuid, "x_jmp_content_encoding": encoding})
        )


class Stream:
    """One RouterService.Stream, frame by frame."""

    def __init__(self, wire, request):
        self.outbox = queue.SimpleQueue()
        metadata = wire.metadata + (() if request is None else (("request", request),))
        self.call = wire.router.Stream(iter(self.outbox.get, None), timeout=DEADLINE, metadata=metadata)

    def headers(self):
        """Waits for the initial metadata, as the released client does before its first frame."""
        return {key: text for key, text in self.call.initial_metadata()}

    def send(self, payload, frame_type=router_pb2.FRAME_TYPE_DATA):
        self.outbox.put(router_pb2.StreamRequest(payload=payload, frame_type=frame_type))

    def goaway(self):
        self.send(b"", router_pb2.FRAME_TYPE_GOAWAY)

    def half_close(self):
        """HTTP/2's END_STREAM, which the released client sends right after its GOAWAY."""
        self.outbox.put(None)

    def read(self, size):
        """At least `size` bytes, or what came until the end."""
        seen = b""
        while len(seen) < size:
            frame = next(self.call, None)
            if frame is None or frame.frame_type == router_pb2.FRAME_TYPE_GOAWAY:
                break
            if frame.frame_type == router_pb2.FRAME_TYPE_DATA:
                seen += frame.payload
        return seen

    def frames(self):
        """The DATA frames until GOAWAY or until the call is over."""
        for frame in self.call:
            if frame.frame_type == router_pb2.FRAME_TYPE_GOAWAY:
                return
            if frame.frame_type == router_pb2.FRAME_TYPE_DATA:
                yield frame.payload

    def cancel(self):
        self.half_close()
        self.call.cancel()


def code(call):
    """The status code and text that a call fails with; a call that succeeds is OK and its answer."""
    try:
        return grpc.StatusCode.OK, call()
    except grpc.RpcError as error:
        return error.code(), error.details()
