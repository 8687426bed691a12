"""Images to write: random bytes, so that no two parts are alike and nothing compresses away."""

import bz2
import gzip
import hashlib
import lzma
import os

from backports import zstd

MIB = 1 << 20


def zstd_with_checksum(data):
    """zstd finds damaged literals only by its optional checksum, which the command-line tool writes."""
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


COMPRESS = {"gzip": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress, "zstd": zstd_with_checksum}
DECOMPRESS = {"gzip": gzip.decompress, "xz": lzma.decompress, "bz2": bz2.decompress, "zstd": zstd.decompress}


def image(path, size):
    """Writes `size` random bytes to `path`; returns the path and the digest."""
    data = os.urandom(size)
    path.write_bytes(data)
    return path, digest(data)


def digest(data):
    return hashlib.sha256(data).hexdigest()
