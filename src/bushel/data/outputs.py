"""Writing a part of a data set.

Guarantees: nothing of a part is visible until all of it is; it is durable and verified in its place before the task says that it is
there; a block that raises leaves nothing behind but objects that nobody refers to, which are swept. Written again, by another attempt
or somewhere else, the same content is the same part.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from bushel.data import inputs, result, task
from bushel.domain.failpoints import reach
from bushel.spec.dataset_labels import reachable
from bushel.spec.manifest import (
    COLUMNS_LIMIT,
    PART_FILE,
    BadManifest,
    check_file_name,
    empty_column,
    letters,
    part_text,
    sha256,
)
from bushel.storage.place import Place

DESCRIPTOR_LIMIT_BYTES = 32 * 1024
SOURCES_LIMIT = 100
_READ_BYTES = 2**20


class Output:
    """A part that is being written. Made by `output`."""

    def __init__(self, name: str, told: Mapping[str, Any], staging: Path) -> None:
        self.name = name
        self.dataset: str = told["dataset"]
        self.records = 0
        """Records that belong to no single file; those given with files are added."""
        self._staging = staging
        self._told_place = _place_here(told)
        self._files: dict[str, tuple[Path, int]] = {}
        self._schema: dict[str, str] = {}
        self._columns: dict[str, dict[str, Any]] = {}
        self._counters: dict[str, dict[str, int]] = {}
        self._labels: dict[str, Any] = {}

    @property
    def folder(self) -> Path:
        """An empty folder of this output, for programs that want to write files themselves; then `add` them."""
        folder = self._staging / "own"
        folder.mkdir(exist_ok=True)
        return folder

    @contextmanager
    def open(self, name: str, *, records: int = 0) -> Iterator[BinaryIO]:
        """A new file of the part."""
        path = self._staging / f"file-{len(self._files)}"
        with open(path, "xb") as file:
            yield file
        self.add(path, name, records=records)

    def add(self, path: Path | str, name: str, *, records: int = 0) -> None:
        """A file that is there already. It must stay as it is until the block ends.

        Raises:
            BadManifest: the name is none for a file of a part, or was given before.
        """
        if check_file_name(name) in self._files:
            raise BadManifest(f"there is a file {name} in {self.name} already")
        self._files[name] = (Path(path), records)

    def schema(self, columns: Mapping[str, str]) -> None:
        """Column → type, as your format calls it."""
        self._schema.update(columns)

    def column(self, name: str, values: Iterable[float | None]) -> None:
        """Add values to the statistics of a column. None and NaN count as null."""
        column = self._columns.setdefault(name, empty_column())
        for value in values:
            if value is None or not math.isfinite(value):
                column["nulls"] += 1
                continue
            number = float(value)
            column["count"] += 1
            column["sum"] += number
            column["sum_squares"] += number * number
            column["min"] = number if column["min"] is None else min(column["min"], number)
            column["max"] = number if column["max"] is None else max(column["max"], number)

    def count(self, name: str, counts: Mapping[str, int]) -> None:
        """Add to a counter: how many of each kind."""
        counter = self._counters.setdefault(name, {})
        for key, number in counts.items():
            counter[key] = counter.get(key, 0) + number

    def label(self, **labels: Any) -> None:
        """jurisdiction, purpose (lists) or coordinate_system, where it is not what the inputs have."""
        unknown = set(labels) - {"jurisdiction", "purpose", "coordinate_system"}
        if unknown:
            raise BadManifest(f"{', '.join(sorted(unknown))}: labels are jurisdiction, purpose and coordinate_system")
        self._labels.update(labels)

    def store(self) -> dict[str, Any]:
        """Store the part; what is to be said of it. The block of `output` does this by itself at its end."""
        if len(self._schema) > COLUMNS_LIMIT or len(self._columns) > COLUMNS_LIMIT:
            raise BadManifest(f"{self.name} has more than {COLUMNS_LIMIT} columns")
        files = [self._described(name, path, records) for name, (path, records) in sorted(self._files.items())]
        statistics = {"columns": self._columns, "counters": self._counters}
        text = part_text(files, self._schema, statistics)
        descriptor = self._descriptor(files, sha256(text), statistics)
        place = inputs._opened(self._told_place)
        self._store(place, files, text, descriptor["digest"])
        return descriptor

    def _store(self, place: Place, files: list[dict[str, Any]], text: bytes, digest: str) -> None:
        folder = f"parts/{letters(digest)}"
        for file in files:
            path, _ = self._files[file["name"]]
            place.put_file(path, f"{folder}/{file['name']}", file["digest"])
            reach("data.after_file")
        place.put_bytes(text, f"{folder}/{PART_FILE}", digest)
        reach("data.after_part")

    def _described(self, name: str, path: Path, records: int) -> dict[str, Any]:
        hashed = hashlib.sha256()
        size = 0
        with open(path, "rb") as file:
            while data := file.read(_READ_BYTES):
                hashed.update(data)
                size += len(data)
        return {"name": name, "size_bytes": size, "digest": f"sha256:{hashed.hexdigest()}", "records": records}

    def _descriptor(self, files: list[dict[str, Any]], digest: str, statistics: Mapping[str, Any]) -> dict[str, Any]:
        descriptor = {
            "digest": digest,
            "place": self._told_place["name"],
            "files": len(files),
            "bytes": sum(file["size_bytes"] for file in files),
            "records": self.records + sum(file["records"] for file in files),
            "schema": self._schema,
            "statistics": statistics,
            "labels": self._labels,
            "sources": inputs.sources(SOURCES_LIMIT),
            "made_by": task.made_by(),
        }
        while len(json.dumps(descriptor)) > DESCRIPTOR_LIMIT_BYTES and descriptor["sources"]:
            descriptor["sources"] = descriptor["sources"][: len(descriptor["sources"]) // 2]
        if len(json.dumps(descriptor)) > DESCRIPTOR_LIMIT_BYTES:
            raise BadManifest(f"schema and statistics of {self.name} take more than {DESCRIPTOR_LIMIT_BYTES} bytes")
        return descriptor


@contextmanager
def output(name: str, *, staging: Path | str | None = None) -> Iterator[Output]:
    """An output of this task's stage: at the end of the block it is stored, unless the block raises.

    Files are gathered under `staging`, by default in the task's folder for temporary files.

    Raises:
        NotTold: the stage has no such output.
        Elsewhere: this site may write into none of its places.
        PlaceError: it could not be stored.
    """
    told = task.named("BUSHEL_OUTPUTS", name, "output")
    with staged(staging) as folder:
        made = Output(name, told, folder)
        yield made
        result.add("outputs", name, made.store())


@contextmanager
def staged(below: Path | str | None = None) -> Iterator[Path]:
    """A folder that is gone at the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix="bushel-output-", dir=below))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _place_here(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """The place to write to: one that is bound to this site, else one that is bound to none."""
    here = [place for place in told["places"] if reachable(place["sites"], task.site())]
    if not here:
        places = "; ".join(f"{place['name']} is bound to {', '.join(place['sites'])}" for place in told["places"])
        raise inputs.Elsewhere(f"{told['dataset']} cannot be written at {task.site() or 'no site'}: {places}")
    return max(here, key=lambda place: bool(place["sites"]))
