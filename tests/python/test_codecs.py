"""Compressed images: whole ones arrive bit-exact, broken ones are errors."""

import os

import pytest

from images import COMPRESS, DECOMPRESS, MIB
from killed import upload_and_die
from waiting import once_free, refused


def stored(client, work):
    client.mux_flasher.read_local_file(work / "stored")
    return (work / "stored").read_bytes()


def flash(client, work, data, codec):
    (work / "packed").write_bytes(data)
    client.mux_flasher.flash(work / "packed", compression=codec)


def arrives(client, work, codec):
    data = os.urandom(3 * MIB) + bytes(MIB)
    flash(client, work, COMPRESS[codec](data), codec)
    assert stored(client, work) == data


def test_gzip(client, work):
    arrives(client, work, "gzip")


def test_xz(client, work):
    arrives(client, work, "xz")


def test_bz2(client, work):
    arrives(client, work, "bz2")


def test_zstd(client, work):
    arrives(client, work, "zstd")


def members_arrive(client, work, codec):
    parts = [os.urandom(100_000), b"", os.urandom(70_000), bytes(200_000)]
    flash(client, work, b"".join(COMPRESS[codec](part) for part in parts), codec)
    assert stored(client, work) == b"".join(parts)


@pytest.mark.differs("the Python exporter keeps only the first member")
def test_gzip_of_several_members(client, work):
    members_arrive(client, work, "gzip")


@pytest.mark.differs("the Python exporter fails after the first stream")
def test_xz_of_several_streams(client, work):
    members_arrive(client, work, "xz")


@pytest.mark.differs("the Python exporter fails after the first stream")
def test_bz2_of_several_streams(client, work):
    members_arrive(client, work, "bz2")


@pytest.mark.differs("the Python exporter fails after the first frame")
def test_zstd_of_several_frames(client, work):
    members_arrive(client, work, "zstd")


def cut_short(client, work, codec):
    packed = COMPRESS[codec](os.urandom(MIB))
    with refused():
        flash(client, work, packed[: len(packed) // 2], codec)
    arrives(client, work, codec)


@pytest.mark.differs("the Python exporter takes a truncated stream for a whole one")
def test_gzip_cut_short(client, work):
    cut_short(client, work, "gzip")


@pytest.mark.differs("the Python exporter takes a truncated stream for a whole one")
def test_xz_cut_short(client, work):
    cut_short(client, work, "xz")


@pytest.mark.differs("the Python exporter takes a truncated stream for a whole one")
def test_bz2_cut_short(client, work):
    cut_short(client, work, "bz2")


@pytest.mark.differs("the Python exporter takes a truncated stream for a whole one")
def test_zstd_cut_short(client, work):
    cut_short(client, work, "zstd")


def corrupt(client, work, codec):
    packed = bytearray(COMPRESS[codec](os.urandom(MIB)))
    for at in range(len(packed) // 2, len(packed) // 2 + 64):
        packed[at] ^= 0xFF
    with refused():
        flash(client, work, bytes(packed), codec)
    arrives(client, work, codec)


def test_gzip_corrupt(client, work):
    corrupt(client, work, "gzip")


def test_xz_corrupt(client, work):
    corrupt(client, work, "xz")


def test_bz2_corrupt(client, work):
    corrupt(client, work, "bz2")


def test_zstd_corrupt(client, work):
    corrupt(client, work, "zstd")


def test_bytes_of_another_kind(client, work):
    with refused():
        flash(client, work, b"this is no xz stream" * 1000, "xz")


def dumped_compressed(client, work, codec):
    data = os.urandom(300_000)
    (work / "image").write_bytes(data)
    client.mux_flasher.write_local_file(work / "image")
    client.mux_flasher.dump(work / "dumped", compression=codec)
    assert DECOMPRESS[codec]((work / "dumped").read_bytes()) == data


NEVER_FLUSHED = pytest.mark.differs("the Python exporter never flushes its compressor")


@NEVER_FLUSHED
def test_dump_gzip(client, work):
    dumped_compressed(client, work, "gzip")


@NEVER_FLUSHED
def test_dump_xz(client, work):
    dumped_compressed(client, work, "xz")


@NEVER_FLUSHED
def test_dump_bz2(client, work):
    dumped_compressed(client, work, "bz2")


@NEVER_FLUSHED
def test_dump_zstd(client, work):
    dumped_compressed(client, work, "zstd")


def test_the_next_write_works_after_a_client_was_killed(client, work):
    upload_and_die("mux_flasher")
    (work / "image").write_bytes(os.urandom(MIB))
    once_free(lambda: client.mux_flasher.write_local_file(work / "image"))
    assert stored(client, work) == (work / "image").read_bytes()
