"""Records what the released Python client sends to an exporter that serves rig.yaml.

    JMP_DRIVERS_ALLOW=UNSAFE python record.py SOCKET

writes calls.bin, console.bin, upload.bin and logs.bin beside this file. Needs the packages of
tests/python/requirements.txt. Each session runs in a process of its own, over a proxy in this one.
"""

import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).parent
IMAGE = bytes(range(256)) * 40


def calls(client):
    client.probe.on()
    list(client.probe.read())
    client.files.create_dir("made/")
    try:
        client.probe.call("no_such_method", 1, {"a": [None, "b"]})
    except Exception as error:
        print("as expected:", error)


def console(client):
    with client.board.console.stream() as stream:
        for _ in range(5):
            stream.send(b"root\r")
    client.board.power.off()


def upload(client):
    with tempfile.TemporaryDirectory() as directory:
        image = Path(directory) / "image"
        image.write_bytes(IMAGE)
        client.card.write_local_file(str(image))


def logs(client):
    logging.basicConfig(level=logging.DEBUG)
    with client.log_stream():
        client.probe.on()


SESSIONS = {session.__name__: session for session in (calls, console, upload, logs)}


def record(name, target):
    sent = bytearray()
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        path = os.path.join(directory, "proxy.sock")
        listener.bind(path)
        listener.listen()

        def passing(source, sink, keep):
            while data := source.recv(65536):
                if keep:
                    sent.extend(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

        def serve():
            client, _ = listener.accept()
            daemon = socket.socket(socket.AF_UNIX)
            daemon.connect(target)
            for way in ((client, daemon, True), (daemon, client, False)):
                threading.Thread(target=passing, args=way, daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        environment = os.environ | {"JUMPSTARTER_HOST": path}
        subprocess.run([sys.executable, __file__, "--session", name], env=environment, check=True, timeout=60)
    (HERE / f"{name}.bin").write_bytes(sent)
    print(f"{name}.bin: {len(sent)} bytes")


if __name__ == "__main__":
    if sys.argv[1] == "--session":
        from jumpstarter.utils.env import env

        with env() as root:
            SESSIONS[sys.argv[2]](root)
    else:
        for session in SESSIONS:
            record(session, sys.argv[1])
