"""A small web server on loopback that records every request and answers from a table."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Callable

# Pieces of a body that takes its time.
PIECES = 16


@dataclass
class Answer:
    """With `ranges` as a server that offers them; a range is good for as long as the ETag is the same."""

    status: int = 200
    body: bytes = b""
    headers: dict = field(default_factory=dict)
    ranges: bool = False
    # Bytes of the body after which the connection breaks.
    cut: int | None = None
    # Called between the pieces of the body.
    between: Callable | None = None
    # What the next request for the same is answered with.
    next: Answer | None = None

    def to(self, asked):
        """Status, headers and body for a request with the headers `asked`."""
        if not self.ranges:
            return self.status, self.headers, self.body
        headers = self.headers | {"Accept-Ranges": "bytes"}
        if "range" not in asked or asked.get("if-range") != self.headers.get("ETag"):
            return self.status, headers, self.body
        first, size = int(asked["range"].removeprefix("bytes=").rstrip("-")), len(self.body)
        return 206, headers | {"Content-Range": f"bytes {first}-{size - 1}/{size}"}, self.body[first:]


@dataclass
class Request:
    method: str
    target: str
    headers: dict
    body: bytes


@dataclass
class Web:
    """`answers` maps a method and a target, percent-encoding and query as they are on the wire, to an Answer."""

    base: str
    answers: dict = field(default_factory=dict)
    requests: list = field(default_factory=list)


@contextmanager
def web():
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def serve(self):
            headers = {name.lower(): value for name, value in self.headers.items()}
            site.requests.append(Request(self.command, self.path, headers, self.body(headers)))
            answer = site.answers.get((self.command, self.path), Answer(404))
            if answer.next:
                site.answers[self.command, self.path] = answer.next
            status, given, body = answer.to(headers)
            self.send_response(status)
            for name, value in given.items():
                self.send_header(name, value)
            if "Content-Length" not in given:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.send(body[: answer.cut], answer.between)
            if "Content-Length" in given or answer.cut is not None:
                self.close_connection = True

        def send(self, body, between):
            size = len(body) if between is None else -(-len(body) // PIECES)
            for at in range(0, len(body), size or 1):
                if at and between:
                    between()
                self.wfile.write(body[at : at + size])

        do_GET = do_PUT = serve

        def body(self, headers):
            if headers.get("transfer-encoding") != "chunked":
                return self.rfile.read(int(headers.get("content-length", 0)))
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site = Web(f"http://127.0.0.1:{server.server_port}")
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
