"""Writing so that a reader sees all of it or nothing, the same way each time.

Guarantees: `new_folder` and `write_atomically` leave either the finished thing under its name or nothing; a full disk becomes `NoSpace`.
JSON and Parquet written here are byte-identical for equal content: keys sorted, no time stamps, one writer version and fixed settings.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from drive_dataset.errors import NoSpace

CHUNK_BYTES = 1 << 20


class _NoPandas:
    """At the first value that it converts pyarrow loads pandas where that is installed: half a second, and no stage hands it a frame."""

    def find_spec(self, name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


if "pandas" not in sys.modules:
    sys.meta_path.insert(0, _NoPandas())
    pa.array([0.0]).to_numpy()  # it looks once for each direction, and takes this for an answer
    del sys.meta_path[0]


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which takes the name `path` when all went well, in place of one that is there."""
    part = path.with_name(f".{path.name}.part-{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    with no_space_named(path):
        try:
            part.mkdir(parents=True)
            yield part
            _replace_folder(part, path)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _replace_folder(part: Path, path: Path) -> None:
    old = path.with_name(f".{path.name}.old-{os.getpid()}")
    if path.exists():
        path.rename(old)
    part.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def write_atomically(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.part-{os.getpid()}")
    with no_space_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(content)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def no_space_named(path: Path) -> Iterator[None]:
    """The system's ways to say that the disk is full, as one error."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise NoSpace(f"no space left to write {path.name}") from error
        raise


def canonical_json(value: Any) -> bytes:
    return (json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()


def write_json(path: Path, value: Any) -> None:
    write_atomically(path, canonical_json(value))


def read_json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def write_parquet(path: Path, table: pa.Table) -> None:
    with no_space_named(path):
        pq.write_table(table, path, compression="zstd", compression_level=3, row_group_size=1 << 18, write_statistics=True)


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Of one file. (`pyarrow.parquet.read_table` is for sets of files, and takes a third of a second to load what they need.)"""
    with pq.ParquetFile(path) as file:
        return file.read(columns=columns)


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
