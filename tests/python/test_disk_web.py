"""A card without a mux, written from the web by the flash engine, and put there."""

import logging
import os

import pytest

from cards import BEFORE, CARD, bmap, holds, written
from images import COMPRESS, MIB
from waiting import refused, until
from web import Answer, web


@pytest.fixture
def site():
    with web() as site:
        yield site


@pytest.fixture
def data():
    return os.urandom(6 * MIB + 17)


def handle(url, method="GET"):
    return {"kind": "presigned_request", "headers": {}, "url": url, "method": method}


def asked_for(site):
    """The ranges of all requests, in order."""
    return [request.headers.get("range") for request in site.requests]


def incomplete(client, why):
    with refused(f"card incomplete: write stopped at .*{why}"):
        client.storage.dut()


def test_a_map_beside_a_url_is_found(client, card, site):
    data = os.urandom(8 * MIB)
    site.answers["GET", "/img.wic.xz"] = Answer(body=COMPRESS["xz"](data))
    site.answers["GET", "/img.wic.bmap"] = Answer(body=bmap(data, [(0, 100), (1000, 1500)]))
    client.storage.flash(f"{site.base}/img.wic.xz")
    held = card.read_bytes()
    assert held[: 100 * 4096] == data[: 100 * 4096]
    assert held[1000 * 4096 : 1500 * 4096] == data[1000 * 4096 : 1500 * 4096]
    assert held[100 * 4096 : 1000 * 4096] == BEFORE * (900 * 4096)
    assert held[1500 * 4096 :] == BEFORE * (CARD - 1500 * 4096)
    # A signed URL is good for one file, so nothing is looked for beside it.
    site.requests.clear()
    site.answers["GET", "/raw.img?sig=1"] = Answer(body=data)
    client.storage.flash(f"{site.base}/raw.img?sig=1")
    assert [request.target for request in site.requests] == ["/raw.img?sig=1"]
    holds(card, data)


def test_a_map_of_another_image_breaks_the_write(client, card, site, data):
    other = bytearray(data)
    other[5 * MIB] ^= 1
    site.answers["GET", "/img"] = Answer(body=bytes(other))
    site.answers["GET", "/img.bmap"] = Answer(body=bmap(data, [(0, 1000), (1200, 1400)]))
    with refused("card incomplete: "):
        client.storage.flash(f"{site.base}/img")
    incomplete(client, "block map")


def test_a_url_whose_image_is_too_large_leaves_the_card(client, card, site):
    site.answers["GET", "/large.img"] = Answer(body=bytes(CARD + 1))
    with refused("image too large: the card holds 16777216 bytes"):
        client.storage.flash(f"{site.base}/large.img")
    client.storage.dut()
    holds(card, b"")


def test_a_redirect_is_followed(client, card, site, data):
    with web() as other:
        site.answers["GET", "/old?sig=1"] = Answer(302, headers={"Location": f"{other.base}/new?sig=2"})
        other.answers["GET", "/new?sig=2"] = Answer(body=data)
        client.storage.flash(f"{site.base}/old?sig=1")
    holds(card, data)


def test_a_body_that_breaks_off(client, card, work, site, data):
    site.answers["GET", "/i?sig=1"] = Answer(body=data, cut=4 * MIB)
    # `dut` of the client's own `flash` is refused with the first cause.
    with refused("card incomplete: write stopped at .* does not offer ranges"):
        client.storage.flash(f"{site.base}/i?sig=1")
    incomplete(client, "connection/read error")
    assert asked_for(site) == [None]
    client.storage.flash(written(work, "good", b"good"))
    client.storage.dut()


# a download that breaks and goes on


def etag(tag):
    return {"ETag": f'"{tag}"'}


def test_a_download_that_broke_goes_on(client, card, site, data, caplog):
    caplog.set_level(logging.INFO)
    whole = Answer(body=data, headers=etag("a"), ranges=True)
    second = Answer(body=data, headers=etag("a"), ranges=True, cut=3 * MIB, next=whole)
    site.answers["GET", "/i?sig=1"] = Answer(body=data, headers=etag("a"), ranges=True, cut=2 * MIB, next=second)
    with client.log_stream():
        report = client.storage.flash(f"{site.base}/i?sig=1")
        until(lambda: f"The download goes on at byte {5 * MIB}." in caplog.text, "word of it")
    assert f"Asking for the rest from byte {2 * MIB} in 1 s." in caplog.text
    assert "sig=1" not in caplog.text, "signatures stay out of the log"
    assert report["size"] == len(data)
    holds(card, data)
    assert asked_for(site) == [None, f"bytes={2 * MIB}-", f"bytes={5 * MIB}-"]
    assert [request.headers.get("if-range") for request in site.requests] == [None, '"a"', '"a"']


def test_a_packed_download_that_broke_goes_on(client, card, site, data):
    packed = COMPRESS["xz"](data)
    whole = Answer(body=packed, headers=etag("a"), ranges=True)
    site.answers["GET", "/i.xz?sig=1"] = Answer(body=packed, headers=etag("a"), ranges=True, cut=MIB, next=whole)
    client.storage.flash(f"{site.base}/i.xz?sig=1")
    holds(card, data)


def test_a_download_goes_on_behind_a_redirect(client, card, site, data):
    site.answers["GET", "/old?sig=1"] = Answer(307, headers={"Location": "/new?sig=1"})
    whole = Answer(body=data, headers=etag("a"), ranges=True)
    site.answers["GET", "/new?sig=1"] = Answer(body=data, headers=etag("a"), ranges=True, cut=MIB, next=whole)
    client.storage.write(handle(f"{site.base}/old?sig=1"))
    holds(card, data)
    assert [request.target for request in site.requests] == ["/old?sig=1", "/new?sig=1"] * 2


def test_a_download_never_goes_on_with_another_file(client, card, work, site, data):
    other = Answer(body=os.urandom(len(data)), headers=etag("b"), ranges=True)
    site.answers["GET", "/i?sig=1"] = Answer(body=data, headers=etag("a"), ranges=True, cut=4 * MIB, next=other)
    with refused("card incomplete: "):
        client.storage.flash(f"{site.base}/i?sig=1")
    incomplete(client, r"connection/read error.*cannot go on at byte 4194304: .*changed meanwhile \(status 200\)")
    assert other.body[4 * MIB : 5 * MIB] not in card.read_bytes()
    client.storage.flash(written(work, "good", b"good"))
    client.storage.dut()


def test_a_download_never_goes_on_with_another_range(client, card, site, data):
    liar = Answer(206, body=data, headers=etag("a") | {"Content-Range": f"bytes 0-{len(data) - 1}/{len(data)}"})
    site.answers["GET", "/i?sig=1"] = Answer(body=data, headers=etag("a"), ranges=True, cut=4 * MIB, next=liar)
    with refused("card incomplete: "):
        client.storage.flash(f"{site.base}/i?sig=1")
    incomplete(client, "asked for all from byte 4194304, the server sent bytes 0-")


def test_a_download_whose_rest_is_forbidden_ends_with_the_break(client, card, site, data):
    site.answers["GET", "/i?sig=1"] = Answer(body=data, headers=etag("a"), ranges=True, cut=4 * MIB, next=Answer(403))
    with refused("card incomplete: "):
        client.storage.flash(f"{site.base}/i?sig=1")
    incomplete(client, "connection/read error.*the server answers with status 403")


def test_a_download_that_brings_nothing_more_ends(client, card, site, data):
    nothing = Answer(body=data, headers=etag("a"), ranges=True, cut=0)
    site.answers["GET", "/i?sig=1"] = Answer(body=data, headers=etag("a"), ranges=True, cut=4 * MIB, next=nothing)
    with refused("card incomplete: "):
        client.storage.flash(f"{site.base}/i?sig=1")
    incomplete(client, "connection/read error.*cannot go on at byte 4194304: 5 requests for the rest brought nothing")
    assert asked_for(site) == [None] + ["bytes=4194304-"] * 5


# dumps


def test_put_of_the_card(client, card, site):
    data = os.urandom(CARD)
    card.write_bytes(data)
    site.answers["PUT", "/dump?sig=1"] = Answer(201)
    client.storage.read(handle(f"{site.base}/dump?sig=1", "PUT"))
    [request] = site.requests
    assert request.body == data


def test_put_refused(client, card, site):
    site.answers["PUT", "/full"] = Answer(507)
    with refused("Presigned HTTP PUT request failed: status=507"):
        client.storage.read(handle(f"{site.base}/full", "PUT"))
    client.storage.dut()


def test_put_is_not_redirected(client, card, site):
    site.answers["PUT", "/old"] = Answer(307, headers={"Location": f"{site.base}/new"})
    site.answers["PUT", "/new"] = Answer(201)
    with refused("Presigned HTTP PUT request failed: status=307"):
        client.storage.read(handle(f"{site.base}/old", "PUT"))
    assert [request.target for request in site.requests] == ["/old"]
