"""A file that stands for a card, what is on it, and maps of images for it."""

import hashlib

from images import MIB, digest

CARD = 16 * MIB
# What the card has before anything is written.
BEFORE = b"\xee"


def holds(card, data):
    held = card.read_bytes()
    assert held[: len(data)] == data
    assert held[len(data) :] == BEFORE * (CARD - len(data))


def written(work, name, data):
    path = work / name
    path.write_bytes(data)
    return path


def bmap(image, ranges):
    """A block map of 2.0 with all its checksums; ranges of pages."""
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
