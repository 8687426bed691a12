"""File storage, flashers and muxes behind their released clients."""

import hashlib
import os
import threading

import pytest
from jumpstarter.client.core import DriverError, DriverInvalidArgument

from images import MIB, image
from waiting import refused

# file storage


@pytest.fixture
def files(client):
    return client.files


def test_files_bytes(files):
    data = os.urandom(3 * MIB)
    files.write_bytes("a.bin", data)
    assert files.read_bytes("a.bin") == data
    files.write_bytes("a.bin", b"short")
    assert files.read_bytes("a.bin") == b"short"


def test_files_paths(files, work):
    source, digest = image(work / "source", MIB)
    files.write_from_path("deep/in/a.bin", source)
    files.read_into_path("deep/in/a.bin", work / "target")
    assert hashlib.sha256((work / "target").read_bytes()).hexdigest() == digest


def test_files_seek_and_tell(files):
    files.write_bytes("seek", b"0123456789")
    file = files.open("seek", "rb")
    assert file.tell() == 0
    assert file.seek(4) == 4
    assert file.read_bytes() == b"456789"
    assert file.seek(-3, 2) == 7
    assert file.tell() == 7
    assert file.seek(1, 1) == 8
    assert file.read_bytes() == b"89"
    file.close()
    assert file.closed


def test_files_properties(files):
    file = files.open("properties", "wb")
    assert (file.closed, file.readable(), file.seekable(), file.writable()) == (False, False, False, True)
    file.write_bytes(b"x")
    file.close()
    file = files.open("properties", "rb")
    assert (file.closed, file.readable(), file.seekable(), file.writable()) == (False, True, True, False)


def test_files_content_is_there_after_close(files):
    file = files.open("parts", "wb")
    file.write_bytes(b"first ")
    file.write_bytes(b"second")
    file.close()
    assert files.read_bytes("parts") == b"first second"


def test_files_stat(files):
    files.write_bytes("dir/file", b"four")
    stat = files.stat("dir/file")
    assert stat.content_length == 4 and stat.mode.is_file() and not stat.mode.is_dir()
    assert files.stat("dir/").mode.is_dir()
    with pytest.raises(DriverError, match="NotFound"):
        files.stat("missing")


def test_files_hash(files):
    files.write_bytes("h", b"content")
    assert files.hash("h") == hashlib.sha256(b"content").hexdigest()
    assert files.hash("h", "md5") == hashlib.md5(b"content").hexdigest()
    with pytest.raises(DriverInvalidArgument):
        files.call("hash", "h", "crc32")


def test_files_copy_and_rename(files):
    files.write_bytes("a", b"content")
    files.copy("a", "sub/b")
    files.rename("a", "c")
    assert not files.exists("a")
    assert files.read_bytes("sub/b") == files.read_bytes("c") == b"content"


def test_files_list_and_scan(files):
    files.write_bytes("dir/a", b"a")
    files.write_bytes("dir/sub/b", b"b")
    assert sorted(files.list("dir/")) == ["dir/", "dir/a", "dir/sub/"]
    assert sorted(files.scan("dir/")) == ["dir/", "dir/a", "dir/sub/", "dir/sub/b"]
    assert sorted(files.scan("/")) == ["/", "dir/", "dir/a", "dir/sub/", "dir/sub/b"]


def test_files_remove(files):
    files.create_dir("dir/sub/")
    files.write_bytes("dir/sub/b", b"b")
    assert files.exists("dir/sub/")
    files.remove_all("dir/")
    assert not files.exists("dir/sub/b") and not files.exists("dir/")
    files.write_bytes("single", b"x")
    files.delete("single")
    files.delete("single")
    assert not files.exists("single")


def test_files_capability(files):
    capability = files.capability()
    assert capability.stat and capability.read and capability.write and capability.copy and capability.list
    assert not capability.presign_read and not capability.presign


def test_files_presign(files):
    for presign in [files.presign_stat, files.presign_read, files.presign_write]:
        with pytest.raises(DriverError, match="Unsupported"):
            presign("a", 60)


def test_files_created_resources(files):
    files.write_bytes("/a", b"")
    files.create_dir("d/")
    files.copy("a", "d/./c")
    files.rename("a", "b")
    assert files.get_created_resources() == {"b", "d", "d/c"} or files.get_created_resources() == {"b", "d/", "d/c"}
    files.delete("b")
    assert "b" not in files.get_created_resources()
    files.call("register_path", "/x/../known")
    assert "known" in files.get_created_resources()


def test_files_unknown_descriptor(files):
    unknown = "6a7f2f0c-9c5b-4c3f-9a70-0f3c3f6f1a11"
    with pytest.raises(DriverError, match=unknown):
        files.call("file_tell", unknown)
    with pytest.raises(DriverInvalidArgument):
        files.call("file_tell", "no uuid")


@pytest.mark.differs("the Python exporter follows links and dots out of its root")
def test_files_stay_below_their_root(files, work):
    (work / "secret").write_bytes(b"secret")
    (work / "root" / "link").symlink_to(work / "secret")
    (work / "root" / "dirlink").symlink_to(work)
    for path in ["../secret", "/../secret", "a/../../secret", "link", "dirlink/secret"]:
        with pytest.raises(DriverError):
            files.read_bytes(path)
        with refused():
            files.write_bytes(path, b"overwritten")
    assert (work / "secret").read_bytes() == b"secret"


# flashers and muxes


def test_flasher(client, work):
    path, _ = image(work / "image", 2 * MIB)
    client.flasher.flash(path)
    client.flasher.dump(work / "dump")
    assert (work / "dump").read_bytes() == path.read_bytes()


def test_flasher_partitions(client, work):
    for name in ["boot", "kernel"]:
        (work / name).write_bytes(name.encode())
    client.flasher.flash({"boot": work / "boot", "kernel": work / "kernel"})
    for name in ["boot", "kernel"]:
        client.flasher.dump(work / "dump", target=name)
        assert (work / "dump").read_bytes() == name.encode()


@pytest.mark.differs("the Python exporter writes wherever the partition's name leads")
def test_flasher_partition_names_are_no_paths(client, work):
    (work / "image").write_bytes(b"x")
    with refused():
        client.flasher.flash(work / "image", target="../escaped")


def test_mux(client, work):
    path, _ = image(work / "image", 2 * MIB)
    client.mux.host()
    client.mux.write_local_file(path)
    client.mux.dut()
    client.mux.off()
    client.mux.read_local_file(work / "dump")
    assert (work / "dump").read_bytes() == path.read_bytes()
    path.write_bytes(b"shorter")
    client.mux.write_local_file(path)
    client.mux.read_local_file(work / "dump")
    assert (work / "dump").read_bytes() == b"shorter"


def test_mux_flasher(client, work):
    path, _ = image(work / "image", 2 * MIB)
    client.mux_flasher.flash(path)
    client.mux_flasher.dump(work / "dump")
    assert (work / "dump").read_bytes() == path.read_bytes()


def test_a_write_to_two_instances_at_once(client, work):
    paths = [image(work / name, 4 * MIB)[0] for name in ["one", "two"]]
    storages = [client.mux, client.mux_flasher]
    writers = [
        threading.Thread(target=storage.write_local_file, args=(path,)) for storage, path in zip(storages, paths)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    for storage, path in zip(storages, paths):
        storage.read_local_file(work / "dump")
        assert (work / "dump").read_bytes() == path.read_bytes()
