"""A listener with a certificate; the harness made one with `make_certificate.py` in the test's directory."""

import subprocess
import sys
from pathlib import Path

import grpc
from jumpstarter.utils.env import env

from wire import Wire, code, target


def test_the_released_client(monkeypatch, work):
    monkeypatch.delenv("JMP_GRPC_INSECURE", raising=False)
    with env() as client:
        client.power.on()


def test_the_command_line(monkeypatch):
    monkeypatch.delenv("JMP_GRPC_INSECURE", raising=False)
    j = str(Path(sys.executable).with_name("j"))
    subprocess.run([j, "power", "on"], check=True, timeout=60)


def test_a_plain_client_is_refused():
    assert code(Wire().report)[0] == grpc.StatusCode.UNAVAILABLE


def test_a_client_that_does_not_trust_the_certificate(monkeypatch, work):
    import os

    other = (work / "other.pem").read_bytes()
    channel = grpc.secure_channel(target(os.environ["JUMPSTARTER_HOST"]), grpc.ssl_channel_credentials(other))
    assert code(Wire(channel).report)[0] == grpc.StatusCode.UNAVAILABLE
