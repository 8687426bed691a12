"""Waits and expected failures, each with an end."""

import re
import time
from contextlib import contextmanager

import pytest
from jumpstarter.client.core import DriverError

DEADLINE = 20.0


def until(done, what, deadline=DEADLINE, pause=0.05):
    """Asks `done` until it answers with something true, and returns that."""
    end = time.monotonic() + deadline
    while True:
        answer = done()
        if answer:
            return answer
        assert time.monotonic() < end, f"not within {deadline} s: {what}"
        time.sleep(pause)


def leaves(error):
    """The plain exceptions inside of a group, or the exception itself."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


@contextmanager
def refused(pattern="", kind=DriverError):
    """Expects the driver to fail; a failed upload wraps the driver's error in a group of exceptions."""
    with pytest.raises((kind, BaseExceptionGroup)) as caught:
        yield caught
    errors = [leaf for leaf in leaves(caught.value) if isinstance(leaf, kind)]
    assert errors, f"no {kind.__name__} in {caught.value!r}"
    assert re.search(pattern, str(errors[0])), f"{pattern!r} is not in {str(errors[0])!r}"


def once_free(call, deadline=DEADLINE):
    """Calls again while the instance still winds up a transfer whose client has died."""

    def attempt():
        try:
            call()
        except (DriverError, BaseExceptionGroup) as error:
            if any("busy" in str(leaf) for leaf in leaves(error)):
                return False
            raise
        return True

    until(attempt, "the instance is free again", deadline)
