"""Write samples as WebDataset shards (tar) and as one Parquet index.

Guarantees: the same samples give the same bytes: order by a hash of the key (so neighbours in time are spread), owners, modes and times
fixed, nothing in the files that depends on when or where they were written. A shard is whole or not there; when the disk fills up in
the middle, nothing is left.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from drive_dataset.files import new_folder, no_space_named, write_parquet
from drive_dataset.samples import Sample

MOST_SAMPLES, MOST_BYTES = 256, 32 << 20  # of a shard
INDEX = "index.parquet"
_TYPES = {
    pa.string(): ("key", "shard", "side", "recording", "name", "kind", "jurisdiction", "sha256"),
    pa.float64(): ("second", "t", "speed", "yaw_rate", "steering_angle", "latitude", "longitude", "target_speed"),
    pa.bool_(): ("has_signals", "has_picture", "has_sweep"),
    pa.list_(pa.string()): ("reasons",),
    pa.int32(): ("blurred",),
}
_SCHEMA = pa.schema([(name, kind) for kind, names in _TYPES.items() for name in names])


def write_shards(samples: Iterable[Sample], sides: dict[str, str], path: Path) -> list[dict[str, Any]]:
    """`path` becomes a folder with `<side>-000000.tar` … and the index. Returns the rows of the index."""
    ordered = sorted(samples, key=lambda sample: (sides[sample.about["recording"]], _mixed(sample.key)))
    rows: list[dict[str, Any]] = []
    with new_folder(path) as part:
        for name, members in _batches(ordered, sides):
            write_tar(part / name, members)
            rows += [_row(sample, name, sides) for sample in members]
        write_parquet(part / INDEX, pa.Table.from_pylist(rows, schema=_SCHEMA))
    return rows


def _mixed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _batches(ordered: list[Sample], sides: dict[str, str]) -> Iterator[tuple[str, list[Sample]]]:
    batch: list[Sample] = []
    size, number, side = 0, 0, ""
    for sample in ordered:
        its_side, its_size = sides[sample.about["recording"]], sum(len(content) for _, content in sample.files)
        if batch and (its_side != side or len(batch) == MOST_SAMPLES or size + its_size > MOST_BYTES):
            yield f"{side}-{number:06d}.tar", batch
            batch, size, number = [], 0, number + 1 if its_side == side else 0
        side = its_side
        batch.append(sample)
        size += its_size
    if batch:
        yield f"{side}-{number:06d}.tar", batch


def write_tar(path: Path, members: Iterable[Sample]) -> None:
    with no_space_named(path), tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for sample in members:
            for suffix, content in sample.files:
                entry = tarfile.TarInfo(f"{sample.key}.{suffix}")
                entry.size, entry.mtime, entry.mode = len(content), 0, 0o444
                archive.addfile(entry, io.BytesIO(content))


def _row(sample: Sample, shard: str, sides: dict[str, str]) -> dict[str, Any]:
    digest = hashlib.sha256(b"".join(content for _, content in sample.files)).hexdigest()
    known = {name: sample.about.get(name) for name in _SCHEMA.names}
    return {**known, "shard": shard, "side": sides[sample.about["recording"]], "blurred": len(sample.about["found"]), "sha256": digest}
