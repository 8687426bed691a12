"""A card without a mux, written by the flash engine for the released client: its files and its dumps."""

import logging
import os
import re
import threading
import time

import pytest
from jumpstarter.utils.env import env
from opendal import Operator

from cards import BEFORE, CARD, holds, written
from images import COMPRESS, DECOMPRESS, MIB, digest
from killed import upload_and_die
from waiting import once_free, refused, until
from web import Answer, web


def test_write_tells_what_it_wrote(client, card, work):
    data = os.urandom(5 * MIB + 17)
    report = client.storage.write_local_file(written(work, "image", data))
    assert report["sha256"] == digest(data)
    assert report["size"] == report["verified"] == len(data)
    assert report["verify"] == "full"
    holds(card, data)
    client.storage.read_local_file(work / "back")
    assert (work / "back").read_bytes() == card.read_bytes()


def test_flash(client, card, work):
    data = os.urandom(3 * MIB + 1)
    report = client.storage.flash(written(work, "image", data))
    assert report["sha256"] == digest(data)
    holds(card, data)


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
    assert (work / "back").read_bytes() == BEFORE * CARD


@pytest.mark.parametrize("codec", list(DECOMPRESS))
def test_dump_packs(client, card, work, codec):
    data = os.urandom(CARD)
    client.storage.flash(written(work, "image", data))
    client.storage.dump(work / "back.packed", compression=codec)
    assert DECOMPRESS[codec]((work / "back.packed").read_bytes()) == data


def test_dut_is_refused_after_a_broken_flash(client, card, work):
    data = COMPRESS["xz"](os.urandom(4 * MIB))
    with pytest.raises(BaseException):
        client.storage.flash(written(work, "image.xz", data[: len(data) * 3 // 4]))
    with refused("card incomplete: write stopped at .*truncated xz data"):
        client.storage.dut()
    client.storage.flash(written(work, "good", b"good"))
    client.storage.dut()


def test_a_killed_client_leaves_the_card_incomplete(client, card, work):
    upload_and_die("storage")
    once_free(client.storage.host)
    with refused("card incomplete: write stopped at .*went away"):
        client.storage.dut()
    data = os.urandom(MIB)
    client.storage.flash(written(work, "good", data))
    assert card.read_bytes()[:MIB] == data
    client.storage.dut()


# opendal


def test_flash_of_an_operator(client, card, work):
    data = os.urandom(2 * MIB)
    (work / "images").mkdir()
    written(work / "images", "image", data)
    client.storage.flash("image", operator=Operator("fs", root=str(work / "images")))
    holds(card, data)


def test_flash_of_an_operator_in_memory(client, card):
    data = os.urandom(2 * MIB)
    memory = Operator("memory")
    memory.write("image.xz", COMPRESS["xz"](data))
    client.storage.flash("image.xz", operator=memory, compression="xz")
    holds(card, data)


def test_write_file_of_an_operator_that_signs(client, card):
    data = os.urandom(2 * MIB)
    with web() as site:
        site.answers["GET", "/a%20b.img"] = Answer(body=data)
        client.storage.write_file(Operator("http", endpoint=site.base), "/a b.img")
        agents = {request.headers["user-agent"].split("/")[0] for request in site.requests if request.method == "GET"}
    assert "rigd" in agents, "the daemon fetches it itself"
    holds(card, data)


def test_dump_to_an_operator(client, card, work):
    (work / "dumps").mkdir()
    client.storage.dump("back", operator=Operator("fs", root=str(work / "dumps")))
    assert (work / "dumps" / "back").read_bytes() == BEFORE * CARD


# who is told what


def test_the_second_of_two_that_flash_at_once_is_refused(client, card, work):
    first, second = os.urandom(8 * MIB), written(work, "second", os.urandom(4 * MIB))
    half, go_on, outcome = threading.Event(), threading.Event(), []

    def between():
        half.set()
        assert go_on.wait(60)

    def flash():
        with env() as own:
            outcome.append(own.storage.flash(f"{site.base}/first.img?sig=1"))

    with web() as site:
        site.answers["GET", "/first.img?sig=1"] = Answer(body=first, between=between)
        winner = threading.Thread(target=flash)
        winner.start()
        try:
            assert half.wait(60)
            # `flash` begins with `host`; neither goes past a write that is under way.
            with refused("busy: write since"):
                client.storage.flash(second)
            with refused("busy: write since"):
                client.storage.write_local_file(second)
            with refused("busy: write since"):
                client.storage.dut()
        finally:
            go_on.set()
            winner.join(60)
    assert [report["sha256"] for report in outcome] == [digest(first)]
    holds(card, first)
    client.storage.dut()


def test_progress_and_the_end_are_in_the_log(client, card, caplog):
    data = os.urandom(8 * MIB)
    caplog.set_level(logging.INFO)
    began = time.monotonic()
    with web() as site, client.log_stream():
        # Slow enough for several lines.
        site.answers["GET", "/i.img?sig=1"] = Answer(body=data, between=lambda: time.sleep(0.25))
        client.storage.flash(f"{site.base}/i.img?sig=1")
        until(lambda: "sha256" in caplog.text, "the line of the end")
    took = time.monotonic() - began
    lines = [record.message for record in caplog.records if record.name == "exporter:driver"]
    told = [line for line in lines if line.startswith("Written ")]
    form = r"Written [\d.]+ MiB of 8 MiB, [\d.]+ MB/s, \d+ s left\.|Written 0 bytes of 8 MiB, 0\.0 MB/s\."
    assert all(re.fullmatch(form, line) for line in told), told
    assert 2 <= len(told) <= took + 1, told
    [end] = [line for line in lines if line.startswith("Wrote ")]
    assert re.fullmatch(rf"Wrote 8 MiB in [\d.]+ s, verified 8 MiB, sha256 {digest(data)}\.", end), end
