"""Images to write: random bytes, so that no two parts are alike and nothing compresses away."""

import bz2
import gzip
import hashlib
import lzma
import os

from backports import zstd

MIB = 1 << 20

COMPRESS = {"gzip": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress, "zstd": zstd.compress}
DECOMPRESS = {"gzip": gzip.decompress, "xz": lzma.decompress, "bz2": bz2.decompress, "zstd": zstd.decompress}


def image(path, size):
    """Writes `size` random bytes to `path`; returns the path and the digest."""
    data = os.urandom(size)
    path.write_bytes(data)
    return path, digest(data)


def digest(data):
    return hashlib.sha256(data).hexdigest()
