"""A card without a mux, written by the flash engine for the released client."""

import hashlib
import os
import time

import pytest
from jumpstarter.client.core import DriverError

from images import COMPRESS, MIB, digest
from waiting import refused
from web import Answer, web

CARD = 16 * MIB


@pytest.fixture
def card(client, work):
    path = work / "card.img"
    path.write_bytes(b"\xee" * CARD)
    # The instance was absent while there was no file.
    end = time.monotonic() + 30
    while True:
        try:
            client.storage.host()
            return path
        except DriverError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def holds(card, data):
    held = card.read_bytes()
    assert held[: len(data)] == data
    assert held[len(data) :] == b"\xee" * (CARD - len(data))


def written(work, name, data):
    path = work / name
    path.write_bytes(data)
    return path


def test_write_tells_what_it_wrote(client, card, work):
    data = os.urandom(5 * MIB + 17)
    report = client.storage.write_local_file(written(work, "image", data))
    assert report["sha256"] == digest(data)
    assert report["size"] == report["verified"] == len(data)
    assert report["verify"] == "full"
    holds(card, data)
    client.storage.read_local_file(work / "back")
    assert (work / "back").read_bytes() == card.read_bytes()


@pytest.mark.parametrize("codec", list(COMPRESS))
def test_flash_unpacks(client, card, work, codec):
    data = os.urandom(3 * MIB)
    path = written(work, "image.packed", COMPRESS[codec](data))
    client.storage.flash(path, compression=codec)
    holds(card, data)
    # Without a word about it as well.
    card_before = os.urandom(2 * MIB)
    client.storage.flash(written(work, "other", COMPRESS[codec](card_before)))
    assert card.read_bytes()[: 2 * MIB] == card_before


def test_dump(client, card, work):
    client.storage.dump(work / "back")
    assert (work / "back").read_bytes() == b"\xee" * CARD


def test_dut_is_refused_after_a_broken_flash(client, card, work):
    data = COMPRESS["xz"](os.urandom(4 * MIB))
    with pytest.raises(BaseException):
        client.storage.flash(written(work, "image.xz", data[: len(data) * 3 // 4]))
    with refused("card incomplete: write stopped at .*truncated xz data"):
        client.storage.dut()
    client.storage.flash(written(work, "good", b"good"))
    client.storage.dut()


def bmap(image, ranges):
    body = "".join(
        f'<Range chksum="{digest(image[a * 4096:b * 4096])}"> {a}-{b - 1} </Range>\n' for a, b in ranges
    )
    zeros = "0" * 64
    text = (
        '<?xml version="1.0" ?>\n<bmap version="2.0">\n'
        f"<ImageSize> {len(image)} </ImageSize>\n<BlockSize> 4096 </BlockSize>\n"
        "<ChecksumType> sha256 </ChecksumType>\n"
        f"<BmapFileChecksum> {zeros} </BmapFileChecksum>\n<BlockMap>\n{body}</BlockMap>\n</bmap>\n"
    )
    return text.replace(zeros, hashlib.sha256(text.encode()).hexdigest()).encode()


def test_a_map_beside_a_url_is_found(client, card, work):
    data = os.urandom(8 * MIB)
    with web() as site:
        site.answers["GET", "/img.wic.xz"] = Answer(body=COMPRESS["xz"](data))
        site.answers["GET", "/img.wic.bmap"] = Answer(body=bmap(data, [(0, 100), (1000, 1500)]))
        client.storage.flash(f"{site.base}/img.wic.xz")
        held = card.read_bytes()
        assert held[: 100 * 4096] == data[: 100 * 4096]
        assert held[1000 * 4096 : 1500 * 4096] == data[1000 * 4096 : 1500 * 4096]
        assert held[100 * 4096 : 1000 * 4096] == b"\xee" * (900 * 4096)
        assert held[1500 * 4096 :] == b"\xee" * (CARD - 1500 * 4096)
        # A signed URL is good for one file, so nothing is looked for beside it.
        site.requests.clear()
        site.answers["GET", "/raw.img?sig=1"] = Answer(body=data)
        client.storage.flash(f"{site.base}/raw.img?sig=1")
        assert [request.target for request in site.requests] == ["/raw.img?sig=1"]
        holds(card, data)


def test_a_url_whose_image_is_too_large_leaves_the_card(client, card, work):
    with web() as site:
        site.answers["GET", "/large.img"] = Answer(body=bytes(CARD + 1))
        with refused("image too large: the card holds 16777216 bytes"):
            client.storage.flash(f"{site.base}/large.img")
    client.storage.dut()
    holds(card, b"")
