"""A terminal server with one port: the server's side of RFC 2217 as the released pyserial has it.

The port is pyserial's loop, which gives back what it is sent. Prints the TCP port, then a line of JSON for each thing that
the port is told. A line on standard input closes the connection; the end of it ends the server.
"""

import json
import os
import socket
import sys
import threading

from serial.rfc2217 import PortManager
from serial.urlhandler.protocol_loop import Serial as Loop


def tell(what, value):
    print(json.dumps({what: value}), flush=True)


class Port(Loop):
    def _reconfigure_port(self):
        super()._reconfigure_port()
        tell("baudrate", self.baudrate)
        tell("format", f"{self.bytesize}{self.parity}{self.stopbits}")
        tell("flow", "xonxoff" if self.xonxoff else "rtscts" if self.rtscts else "none")

    def _update_dtr_state(self):
        tell("dtr", self._dtr_state)

    def _update_rts_state(self):
        tell("rts", self._rts_state)

    def _update_break_state(self):
        tell("break", self._break_state)


class Writer:
    """The server writes answers, and a thread the port's bytes."""

    def __init__(self, connection):
        self.connection = connection
        self.lock = threading.Lock()

    def write(self, data):
        with self.lock:
            self.connection.sendall(data)


def serve(connection):
    port = Port("loop://", timeout=0.05)
    writer = Writer(connection)
    manager = PortManager(port, writer)
    served = threading.Event()

    def read():
        while not served.is_set():
            if data := port.read(1024):
                try:
                    writer.write(b"".join(manager.escape(data)))
                except OSError:
                    return

    reading = threading.Thread(target=read)
    reading.start()
    try:
        while data := connection.recv(4096):
            for byte in manager.filter(data):
                port.write(byte)
    except OSError:
        pass
    served.set()
    reading.join()
    tell("closed", True)


current = None


def listen(server):
    global current
    while True:
        current, _ = server.accept()
        with current:
            serve(current)


server = socket.create_server(("127.0.0.1", 0))
tell("port", server.getsockname()[1])
threading.Thread(target=listen, args=(server,), daemon=True).start()
for _ in sys.stdin:
    current.shutdown(socket.SHUT_RDWR)
os._exit(0)
