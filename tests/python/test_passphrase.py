"""A listener with a passphrase: `Correct horse` here."""

import os

import pytest
from grpc import StatusCode
from jumpstarter.utils.env import env

from wire import Wire, code

KEY = "x-jumpstarter-passphrase"
RIGHT = "Correct horse"
REFUSED = (StatusCode.UNAUTHENTICATED, "invalid or missing passphrase")


def with_words(*words):
    return Wire(metadata=[(KEY, word) for word in words])


def test_right():
    wire = with_words(RIGHT)
    assert wire.call(wire.uuid("power"), "on")


def test_missing():
    assert code(Wire().report) == REFUSED


def test_wrong():
    for word in ["", "x", RIGHT + "x", RIGHT[:-1], RIGHT.lower()]:
        assert code(with_words(word).report) == REFUSED


def test_every_rpc_asks_for_it():
    wire = Wire()
    assert code(lambda: wire.call("x", "on")) == REFUSED
    assert code(lambda: wire.streaming("x", "read")) == REFUSED
    assert code(wire.status) == REFUSED
    assert code(wire.end_session) == REFUSED
    assert code(lambda: list(wire.logs())) == REFUSED
    assert code(lambda: list(wire.driver_stream("x").call)) == REFUSED


def test_the_last_of_several_counts():
    assert with_words("wrong", RIGHT).report()
    assert code(with_words(RIGHT, "wrong").report) == REFUSED


def test_an_unknown_rpc_is_unknown_first():
    for path in ["/jumpstarter.v1.ExporterService/Levitate", "/no.such.Service/Call"]:
        call = Wire().channel.unary_unary(path)
        assert code(lambda call=call: call(b"", timeout=20)) == (StatusCode.UNIMPLEMENTED, "Method not found!")


def test_the_released_client(monkeypatch):
    monkeypatch.setenv("JMP_GRPC_PASSPHRASE", RIGHT)
    with env() as client:
        client.power.on()
    assert ":" in os.environ["JUMPSTARTER_HOST"]


def test_the_released_client_without(monkeypatch):
    monkeypatch.delenv("JMP_GRPC_PASSPHRASE", raising=False)
    with pytest.raises(Exception, match="invalid or missing passphrase"):
        with env():
            pass
