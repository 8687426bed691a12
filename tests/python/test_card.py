"""Broken uploads to the virtual board: the client hears of it, and the card counts as incomplete."""

import os

import pytest
from jumpstarter_driver_network.adapters import PexpectAdapter

from board import image_digest, log_in
from images import COMPRESS, MIB, digest
from killed import upload_and_die
from waiting import once_free, refused
from web import Answer, web

INCOMPLETE = "image incomplete"


@pytest.fixture
def console(client):
    with PexpectAdapter(client=client.dutlink.console) as console:
        yield console


def flash(client, work, data, codec=None):
    (work / "image").write_bytes(data)
    client.dutlink.power.off()
    client.dutlink.storage.flash(work / "image", compression=codec)


def boots(client, console, work):
    """Writes a whole image and sees it boot; returns its digest."""
    data = os.urandom(2 * MIB)
    flash(client, work, data)
    client.dutlink.power.on()
    log_in(console)
    assert image_digest(console) == digest(data)
    return digest(data)


def broken(client, console, work, data, codec):
    with refused():
        flash(client, work, data, codec)
    client.dutlink.power.on()
    console.expect_exact(INCOMPLETE)
    boots(client, console, work)


def truncated(client, console, work, codec):
    packed = COMPRESS[codec](os.urandom(4 * MIB))
    broken(client, console, work, packed[: len(packed) // 2], codec)


def test_truncated_gzip(client, console, work):
    truncated(client, console, work, "gzip")


def test_truncated_xz(client, console, work):
    truncated(client, console, work, "xz")


def test_truncated_bz2(client, console, work):
    truncated(client, console, work, "bz2")


def test_truncated_zstd(client, console, work):
    truncated(client, console, work, "zstd")


def corrupt(client, console, work, codec):
    packed = bytearray(COMPRESS[codec](os.urandom(4 * MIB)))
    packed[2 * MIB] ^= 0xFF
    broken(client, console, work, bytes(packed), codec)


def test_corrupt_gzip(client, console, work):
    corrupt(client, console, work, "gzip")


def test_corrupt_zstd(client, console, work):
    corrupt(client, console, work, "zstd")


def test_a_download_that_breaks_off(client, console):
    with web() as site:
        site.answers["GET", "/i.img"] = Answer(body=os.urandom(MIB), headers={"Content-Length": str(2 * MIB)})
        with refused():
            client.dutlink.storage.flash(f"{site.base}/i.img")
    client.dutlink.power.on()
    console.expect_exact(INCOMPLETE)


def test_a_download_that_is_not_found_leaves_the_card_as_it_was(client, console, work):
    before = boots(client, console, work)
    client.dutlink.power.off()
    with web() as site, refused("404"):
        client.dutlink.storage.flash(f"{site.base}/missing.img")
    client.dutlink.power.on()
    log_in(console)
    assert image_digest(console) == before


def test_a_client_killed_in_mid_upload(client, console, work):
    upload_and_die("dutlink.storage")
    once_free(client.dutlink.storage.dut)
    client.dutlink.power.on()
    console.expect_exact(INCOMPLETE)
    boots(client, console, work)
