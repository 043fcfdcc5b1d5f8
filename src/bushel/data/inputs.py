"""Reading versions of data sets.

Guarantees: what is read is one version, the one that was current when the run began; every file is checked against its digest when it
is fetched from a bucket, and on request in a folder; what lies in a place that this task's site may not reach is an error that says
so, before anything is read.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bushel.data import task
from bushel.spec.dataset_labels import reachable
from bushel.spec.manifest import PART_FILE, BadManifest, check_version, letters, read_part
from bushel.storage.place import Damaged, Missing, Place, open_place

MANIFEST_WAIT_SECONDS = 60.0
"""How long after its commit a version's manifest may take to be in its places."""

_read: dict[tuple[str, int, str, str], None] = {}
"""Parts that this process has looked into: what an output says it was made of."""


class Elsewhere(Exception):
    """It lies in a place that this site may not reach."""


@dataclass(frozen=True)
class File:
    """One file of a part."""

    name: str
    size_bytes: int
    digest: str
    records: int
    part: Part

    @property
    def object_name(self) -> str:
        return f"parts/{letters(self.part.digest)}/{self.name}"

    def local(self, *, verify: bool = False) -> Path:
        """A path to read it at. In a folder it is the file itself; what comes out of a bucket is kept while this process lives.

        Raises:
            Damaged: it is not what the version says it is.
        """
        place = self.part.place
        if place.folder is not None:
            if verify:
                place.check(self.object_name, self.size_bytes, self.digest)
            path = place.folder / self.object_name
            if not path.is_file():
                raise Missing(f"{place.name}: {self.object_name} is not there")
            return path
        target = task.cache_folder() / letters(self.part.digest) / self.name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            place.fetch(self.object_name, target, self.digest)
        return target

    def read(self) -> bytes:
        """All of it, checked."""
        data = self.local().read_bytes()
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != self.digest:
            raise Damaged(f"{self.part.place.name}: {self.object_name} is not what its digest says")
        return data


@dataclass(frozen=True)
class Part:
    """What one partition wrote. `place` is opened when something of it is read."""

    name: str
    digest: str
    dataset: str
    version: int
    told_place: Mapping[str, Any]

    @property
    def place(self) -> Place:
        if not reachable(self.told_place["sites"], task.site()):
            raise Elsewhere(
                f"{self.dataset} lies in the place {self.told_place['name']}, which is bound to {', '.join(self.told_place['sites'])}; "
                f"this task runs at {task.site() or 'no site'}. What may be read elsewhere is a data set that was released"
            )
        return _opened(self.told_place)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Its files, schema and statistics.

        Raises:
            Elsewhere: this site may not reach it.
        """
        name = f"parts/{letters(self.digest)}/{PART_FILE}"
        text = self.place.read(name)
        try:
            document = read_part(text, self.digest)
        except BadManifest as error:
            raise Damaged(f"{self.place.name}: {name}: {error}") from error
        _read[self.dataset, self.version, self.name, self.digest] = None
        return document

    def files(self) -> Iterator[File]:
        for file in self.manifest["files"]:
            yield File(file["name"], file["size_bytes"], file["digest"], file["records"], self)


class Version:
    """One version of a data set, or of what the same partition made in an earlier stage. Made by `input`, `upstream` and `open_version`."""

    def __init__(self, told: Mapping[str, Any], parts: Sequence[Part] | None = None) -> None:
        self.dataset: str = told["dataset"]
        self.number: int = told["version"]
        self.digest: str = told["digest"]
        self.labels: dict[str, Any] = dict(told.get("labels") or {})
        self._object: str = told.get("manifest") or ""
        self._places = {place["name"]: place for place in told["places"]}
        self._parts = parts

    def parts(self, *, here: bool = False) -> list[Part]:
        """In the order of the version. `here`: only those that this site may reach.

        Raises:
            Elsewhere: none can be reached.
        """
        if self._parts is None:
            self._parts = self._listed()
        if here:
            return [part for part in self._parts if reachable(part.told_place["sites"], task.site())]
        return list(self._parts)

    def files(self, *, here: bool = False) -> Iterator[File]:
        """Of all parts, in order.

        Raises:
            Elsewhere: some lie where this site may not reach them, and it was not asked for those that are `here` alone.
        """
        for part in self.parts(here=here):
            yield from part.files()

    def part(self, name: str) -> Part:
        """
        Raises:
            KeyError: there is none of that name.
        """
        for part in self.parts():
            if part.name == name:
                return part
        raise KeyError(f"version {self.number} of {self.dataset} has no part {name}")

    def _listed(self) -> list[Part]:
        document = self._manifest()
        return [Part(part["name"], part["digest"], self.dataset, self.number, self._places[part["place"]]) for part in document["parts"]]

    def _manifest(self) -> dict[str, Any]:
        """Out of a place that this site reaches; it is there soon after the commit."""
        near = [place for place in self._places.values() if reachable(place["sites"], task.site())]
        if not near:
            names = "; ".join(f"{place['name']} is bound to {', '.join(place['sites'])}" for place in self._places.values())
            raise Elsewhere(f"{self.dataset} version {self.number} cannot be read at {task.site() or 'no site'}: {names}")
        deadline, pause = time.monotonic() + MANIFEST_WAIT_SECONDS, 0.05
        while True:
            for place in near:
                try:
                    return self._checked(place["name"], _opened(place).read(self._object))
                except Missing:
                    if time.monotonic() > deadline:
                        raise
            time.sleep(pause)
            pause = min(pause * 2, 2.0)

    def _checked(self, place: str, packed: bytes) -> dict[str, Any]:
        document = json.loads(gzip.decompress(packed))
        try:
            check_version(document, self.digest)
        except BadManifest as error:
            raise Damaged(f"{place}: {self._object}: {error}") from error
        return document


def input(name: str) -> Version:
    """An input of this task's stage.

    Raises:
        NotTold: it has none of that name.
    """
    return Version(task.named("BUSHEL_INPUTS", name, "input"))


def upstream(stage: str, output: str) -> Version:
    """What the same partition made in an earlier stage, on an edge one-to-one.

    Raises:
        NotTold: that stage said nothing of such an output, or more than fits.
    """
    outputs = task.named("BUSHEL_UPSTREAM", stage, "stage before it")
    descriptor = (outputs or {}).get(output)
    if not descriptor:
        raise task.NotTold(f"stage {stage} left no word of an output {output!r}")
    told_place = descriptor["told_place"] if "told_place" in descriptor else _place_named(descriptor["place"])
    name = os.environ.get("BUSHEL_PARTITION", output)
    dataset = f"{stage}/{output}"
    told = {"dataset": dataset, "version": 0, "digest": descriptor["digest"], "places": [told_place], "labels": descriptor.get("labels")}
    return Version(told, [Part(name, descriptor["digest"], dataset, 0, told_place)])


def _place_named(name: str) -> dict[str, Any]:
    """A place that this task was told of, with any of its inputs or outputs."""
    for variable in ("BUSHEL_OUTPUTS", "BUSHEL_INPUTS", "BUSHEL_PLACES"):
        for told in task.told(variable).values():
            for place in told.get("places", ()) if isinstance(told, dict) else ():
                if place["name"] == name:
                    return place
    raise task.NotTold(f"this task was not told of the place {name}")


def open_version(reference: str, *, project: str | None = None) -> Version:
    """`drive/frames@3` from outside of a task, with your own context; `@latest` where no version is named.

    Raises:
        BushelError: it is not there, or Bushel was not reached.
    """
    from bushel.client import Client

    name, _, selector = reference.partition("@")
    with Client() as client:
        return Version(client.datasets.version(name, selector or "latest", project=project)["opened_by"])


_places: dict[str, Place] = {}


def _opened(told_place: Mapping[str, Any]) -> Place:
    key = json.dumps(told_place, sort_keys=True)
    if key not in _places:
        _places[key] = open_place(told_place, os.environ)
    return _places[key]


def sources(limit: int) -> list[dict[str, Any]]:
    """What this process has read of versions of data sets so far."""
    known = list(_read)[:limit]
    return [{"dataset": dataset, "version": version, "part": part, "digest": digest} for dataset, version, part, digest in known]
