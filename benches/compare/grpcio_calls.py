"""Times DriverCall with a bare grpcio client, without Jumpstarter's own client on top.

    python grpcio_calls.py HOST:PORT CALLS

Prints the percentiles 50 and 99 in seconds.
"""

import sys
import time

import grpc
from google.protobuf import empty_pb2
from jumpstarter_protocol import jumpstarter_pb2, jumpstarter_pb2_grpc

WARM_UP = 100

address, calls = sys.argv[1], int(sys.argv[2])
with grpc.insecure_channel(address) as channel:
    exporter = jumpstarter_pb2_grpc.ExporterServiceStub(channel)
    reports = exporter.GetReport(empty_pb2.Empty(), timeout=10).reports
    power = next(report.uuid for report in reports if report.labels.get("jumpstarter.dev/name") == "power")
    request = jumpstarter_pb2.DriverCallRequest(uuid=power, method="on")
    took = []
    for _ in range(WARM_UP + calls):
        began = time.perf_counter()
        exporter.DriverCall(request, timeout=10)
        took.append(time.perf_counter() - began)
took = sorted(took[WARM_UP:])
print(took[calls // 2], took[calls * 99 // 100])
