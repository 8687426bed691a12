"""Presigned requests: the exporter itself fetches the image, or puts the dump to where the handle says."""

import os

import pytest
from jumpstarter.client.core import DriverInvalidArgument

from images import MIB
from waiting import leaves, refused
from web import Answer, web

# Prefixes of the headers that carry credentials and must not follow to another origin.
SECRETS = {
    "Authorization": "Bearer secret",
    "Cookie": "session=secret",
    "Proxy-Authorization": "Basic secret",
    "X-Amz-Security-Token": "secret",
    "x-ms-version": "secret",
    "X-Goog-Signature": "secret",
}


@pytest.fixture
def site():
    with web() as site:
        yield site


@pytest.fixture
def data():
    return os.urandom(2 * MIB + 17)


def handle(url, method="GET", headers=None):
    return {"kind": "presigned_request", "headers": headers or {}, "url": url, "method": method}


def stored(client, work):
    client.mux_flasher.read_local_file(work / "stored")
    return (work / "stored").read_bytes()


def test_get(client, work, site, data):
    site.answers["GET", "/image.img"] = Answer(body=data)
    client.mux_flasher.flash(f"{site.base}/image.img")
    assert stored(client, work) == data


def test_get_keeps_the_percent_encoding(client, work, site, data):
    target = "/a%2Fb%20c%3d/%7Euser.img?sig=%2Bx%2f%3D&e=a+b"
    site.answers["GET", target] = Answer(body=data)
    client.mux_flasher.write(handle(site.base + target))
    assert [request.target for request in site.requests] == [target]
    assert stored(client, work) == data


def test_get_sends_the_headers(client, site):
    site.answers["GET", "/i"] = Answer(body=b"x")
    client.mux_flasher.write(handle(f"{site.base}/i", headers=SECRETS | {"X-Plain": "yes"}))
    for name, value in (SECRETS | {"X-Plain": "yes"}).items():
        assert site.requests[0].headers[name.lower()] == value


def follows(client, work, site, data, status):
    site.answers["GET", "/old"] = Answer(status, headers={"Location": f"{site.base}/new%2Fplace?a=%2B"})
    site.answers["GET", "/new%2Fplace?a=%2B"] = Answer(body=data)
    client.mux_flasher.write(handle(f"{site.base}/old", headers=SECRETS))
    assert stored(client, work) == data
    assert site.requests[1].headers["authorization"] == "Bearer secret", "the same origin keeps the headers"


def test_get_follows_301(client, work, site, data):
    follows(client, work, site, data, 301)


def test_get_follows_302(client, work, site, data):
    follows(client, work, site, data, 302)


def test_get_follows_303(client, work, site, data):
    follows(client, work, site, data, 303)


def test_get_follows_307(client, work, site, data):
    follows(client, work, site, data, 307)


def test_get_follows_308(client, work, site, data):
    follows(client, work, site, data, 308)


def test_get_drops_credentials_for_another_origin(client, work, site, data):
    with web() as other:
        site.answers["GET", "/old"] = Answer(302, headers={"Location": f"{other.base}/new"})
        other.answers["GET", "/new"] = Answer(body=data)
        client.mux_flasher.write(handle(f"{site.base}/old", headers=SECRETS | {"X-Plain": "yes"}))
        assert stored(client, work) == data
        got = other.requests[0].headers
        assert got["x-plain"] == "yes"
        assert not {name.lower() for name in SECRETS} & set(got)


@pytest.mark.differs("the Python exporter uses a relative Location as it is, and fails")
def test_get_follows_a_relative_location(client, work, site, data):
    site.answers["GET", "/dir/old"] = Answer(302, headers={"Location": "new%20name"})
    site.answers["GET", "/dir/new%20name"] = Answer(body=data)
    client.mux_flasher.write(handle(f"{site.base}/dir/old"))
    assert stored(client, work) == data


def test_get_follows_ten_redirects_but_not_eleven(client, work, site, data):
    for n in range(11):
        site.answers["GET", f"/{n}"] = Answer(302, headers={"Location": f"{site.base}/{n + 1}"})
    site.answers["GET", "/11"] = Answer(body=data)
    client.mux_flasher.write(handle(f"{site.base}/1"))
    assert stored(client, work) == data
    with refused(r"Too many redirects \(10\)"):
        client.mux_flasher.write(handle(f"{site.base}/0"))


def test_get_of_a_redirect_without_a_place(client, site):
    site.answers["GET", "/old"] = Answer(302)
    with refused("Location"):
        client.mux_flasher.write(handle(f"{site.base}/old"))


def test_get_not_found(client, site):
    with refused("404") as caught:
        client.mux_flasher.write(handle(f"{site.base}/missing?signature=topsecret"))
    assert not any("topsecret" in str(leaf) for leaf in leaves(caught.value)), "signatures stay out of messages"


def test_get_that_nobody_answers(client, port):
    with refused() as caught:
        client.mux_flasher.write(handle(f"http://127.0.0.1:{port}/i?signature=topsecret"))
    assert not any("topsecret" in str(leaf) for leaf in leaves(caught.value)), "signatures stay out of messages"


def test_get_that_breaks_off(client, site):
    site.answers["GET", "/i"] = Answer(body=b"x" * 1000, headers={"Content-Length": "2000"})
    with refused():
        client.mux_flasher.write(handle(f"{site.base}/i"))


@pytest.mark.differs("the Python exporter waits for the answer before it sends the body")
def test_put(client, work, site, data):
    (work / "image").write_bytes(data)
    client.mux_flasher.write_local_file(work / "image")
    site.answers["PUT", "/dump%2Bed?sig=%2f"] = Answer(201)
    client.mux_flasher.read(handle(f"{site.base}/dump%2Bed?sig=%2f", "PUT", {"X-Plain": "yes"}))
    [request] = site.requests
    assert request.headers["x-plain"] == "yes"
    assert request.body == data


@pytest.mark.differs("the Python exporter waits for the answer before it sends the body")
def test_put_refused(client, work, site):
    (work / "image").write_bytes(b"small")
    client.mux_flasher.write_local_file(work / "image")
    site.answers["PUT", "/full"] = Answer(507)
    with refused("507"):
        client.mux_flasher.read(handle(f"{site.base}/full", "PUT"))


def test_a_handle_that_is_none(client):
    for bad in [
        {"kind": "presigned_request", "url": "http://127.0.0.1/", "method": "GET"},
        {"kind": "presigned_request", "headers": {}, "url": "http://127.0.0.1/", "method": "POST"},
        {"kind": "carrier_pigeon"},
        {},
        "text",
    ]:
        with refused(kind=DriverInvalidArgument):
            client.mux_flasher.write(bad)


def test_opendal_writes_from_a_web_page(client, site, data):
    site.answers["GET", "/i%20.img"] = Answer(body=data)
    client.files.write_from_path("fetched.img", f"{site.base}/i%20.img")
    assert client.files.read_bytes("fetched.img") == data
