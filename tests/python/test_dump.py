"""A dump of the virtual board's whole card, which is a small one here."""

import subprocess
import sys
from pathlib import Path

from images import MIB, image

CARD = 16 * MIB


def check(client, work, dump):
    path, _ = image(work / "in.img", 2 * MIB)
    client.dutlink.storage.write_local_file(path)
    dump(work / "out.img")
    card = (work / "out.img").read_bytes()
    assert len(card) == CARD
    assert card[: 2 * MIB] == path.read_bytes()
    assert not any(card[2 * MIB :])


def test_command_line(client, work):
    def dump(path):
        j = str(Path(sys.executable).with_name("j"))
        subprocess.run([j, "dutlink", "storage", "dump", str(path)], check=True, timeout=60)

    check(client, work, dump)


def test_read_local_file(client, work):
    check(client, work, client.dutlink.storage.read_local_file)
