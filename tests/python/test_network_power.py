"""Power switches on the network behind the released client, with a recorder in the place of the device."""

import json
import logging
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from jumpstarter.client.core import DriverError, DriverInvalidArgument, DriverMethodNotImplemented
from jumpstarter_driver_power.common import PowerReading

from waiting import until


class Recorder(ThreadingHTTPServer):
    def __init__(self):
        self.requests = []
        self.answers = {}
        super().__init__(("127.0.0.1", int(os.environ["TEST_PORT"])), Handler)


class Handler(BaseHTTPRequestHandler):
    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.server.requests.append((self.command, self.path, body, self.headers.get("Authorization")))
        status, text = self.server.answers.get(self.path, (200, ""))
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


@pytest.fixture
def recorder():
    with Recorder() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


BASIC = "Basic bGFiOnNlY3JldA=="


def test_http_on_and_off(client, recorder):
    client.http.on()
    client.http.off()
    assert recorder.requests == [
        ("POST", "/on", '{"state": 1}', BASIC),
        ("GET", "/off", "", BASIC),
    ]


def test_http_cycle(client, recorder):
    started = time.monotonic()
    client.http.cycle(1)
    assert time.monotonic() - started >= 1
    assert [request[1] for request in recorder.requests] == ["/off", "/on"]


def test_http_read(client, recorder):
    recorder.answers["/read"] = (200, json.dumps({"meters": [{"volts": "12.5"}], "current": 2}))
    assert list(client.http.read()) == [PowerReading(voltage=12.5, current=2.0)]


def test_http_read_of_something_else(client, recorder):
    recorder.answers["/read"] = (200, "[]")
    with pytest.raises(DriverError, match="configured path 'meters.0.volts' not found in read response"):
        list(client.http.read())


def test_http_without_read(client, recorder):
    with pytest.raises(DriverError, match="power_read endpoint is not configured"):
        list(client.without_read.read())


def test_http_refused(client, recorder):
    recorder.answers["/on"] = (503, "")
    with pytest.raises(DriverError, match="503 Server Error: Service Unavailable for url: http://127.0.0.1"):
        client.http.on()


def test_http_says_so_in_the_log(client, recorder, caplog):
    caplog.set_level(logging.INFO)
    with client.log_stream():
        client.http.on()
        until(lambda: "Powering on recorder via HTTP" in caplog.text, "the line `Powering on`")


def test_energenie_on_and_off(client, recorder):
    client.strip.on()
    client.strip.off()
    login = ("POST", "/login.html", "pw=secret", None)
    assert recorder.requests == [login, ("POST", "/", "cte2=1", None), login, ("POST", "/", "cte2=0", None)]


def test_energenie_reads_nothing(client, recorder):
    with pytest.raises(DriverMethodNotImplemented):
        list(client.strip.read())


def test_energenie_unreachable(client):
    with pytest.raises(DriverError, match="cannot connect"):
        client.unreachable.off()


def test_own_calls(client, recorder):
    client.http.call("cycle", 0.5)
    assert [request[1] for request in recorder.requests] == ["/off", "/on"]
    assert client.http.call("state") == {"on": True, "source": "commanded"}
    with pytest.raises(DriverInvalidArgument):
        client.http.call("cycle", -1)
