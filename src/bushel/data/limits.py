"""Files that pretend to be something else: bounds to check before one is opened.

Guarantees: nothing here reads more than it says; what is refused is a `BadRecord`, so that `records` sets it aside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

BLOCK_BYTES = 512


class BadRecord(Exception):
    """This record cannot be used; others can."""


def check_file(path: Path | str, *, most_bytes: int, least_bytes: int = 1, sparse: bool = False) -> int:
    """The size of a regular file within bounds.

    Raises:
        BadRecord: it is none, is too large or too small, or has holes, which no recording has (unless `sparse`).
    """
    path = Path(path)
    try:
        about = path.stat()
    except OSError as error:
        raise BadRecord(f"{path.name} cannot be read: {error.strerror}") from error
    if not path.is_file():
        raise BadRecord(f"{path.name} is no file")
    size = about.st_size
    if size < least_bytes:
        raise BadRecord(f"{path.name} is empty" if size == 0 else f"{path.name} has {size} bytes, and at least {least_bytes} are needed")
    held = about.st_blocks * BLOCK_BYTES
    if not sparse and size > 1_000_000 and held < size // 2:
        raise BadRecord(f"{path.name} is sparse: {size} bytes long, {held} on disk")
    if size > most_bytes:
        raise BadRecord(f"{path.name} has {size} bytes, more than the limit of {most_bytes}")
    return size


def check_expansion(chunks: Iterable[bytes], *, packed_bytes: int, most_bytes: int, most_ratio: float = 200.0) -> Iterator[bytes]:
    """Pass on what comes out of a decompressor, until it is more than what was packed can honestly hold.

    Raises:
        BadRecord: it expands beyond `most_bytes`, or beyond `most_ratio` times its packed size.
    """
    length = 0
    for chunk in chunks:
        length += len(chunk)
        if length > most_bytes:
            raise BadRecord(f"it expands to more than {most_bytes} bytes from {packed_bytes}")
        if length > 2**20 and length > most_ratio * max(packed_bytes, 1):
            raise BadRecord(f"it expands to more than {most_ratio:g} times its {packed_bytes} bytes")
        yield chunk
