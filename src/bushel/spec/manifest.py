"""Parts and versions of data sets as text that can be hashed, and what of theirs adds up.

Guarantees: the same content gives the same digest, whoever made it, where, when and however often: a digest covers names, sizes,
digests, records, schema and statistics, and nothing of attempts, places or times. Counts, statistics and schemas of a version are
those of its parts, added in the order of the parts. Nothing here reads or writes anything.
"""

from __future__ import annotations

import hashlib
import json
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

PART_FORMAT = "bushel-part/1"
VERSION_FORMAT = "bushel-version/1"
PART_FILE = "part.json"
MIXED = "mixed"
"""The type of a column that parts disagree about."""

LONGEST_NAME = 512
COLUMNS_LIMIT = 500
COUNTER_KEYS_LIMIT = 200

_NAME = re.compile(r"[^\x00-\x1f\x7f\\]+")


class BadManifest(ValueError):
    """It does not say what it should, or not of what is there."""


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def letters(digest: str) -> str:
    """The hexadecimal digits of `sha256:…`, for names of objects.

    Raises:
        BadManifest: it is no digest.
    """
    digits = digest.removeprefix("sha256:")
    if digits == digest or len(digits) != 64 or not set(digits) <= set("0123456789abcdef"):
        raise BadManifest(f"{digest!r} is no digest")
    return digits


def check_file_name(name: str) -> str:
    """A name of a file within a part: relative, `/` between folders.

    Raises:
        BadManifest: it would lie elsewhere, or cannot be a name.
    """
    parts = name.split("/")
    if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME or any(part in ("", ".", "..") for part in parts) or name == PART_FILE:
        raise BadManifest(f"{name!r} is no name for a file of a part. Write a relative path such as clips/000.tar")
    return name


def canonical(document: Any) -> bytes:
    """JSON with one way to write each value.

    Raises:
        BadManifest: it holds a number that is not finite.
    """
    try:
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        raise BadManifest(f"it cannot be written as JSON: {error}") from error


def part_text(files: Iterable[Mapping[str, Any]], schema: Mapping[str, str], statistics: Mapping[str, Any]) -> bytes:
    """What lies in a part's `part.json`; its SHA-256 is the part's digest. Files are ordered by name.

    Raises:
        BadManifest: two files have one name.
    """
    ordered = sorted((dict(file) for file in files), key=lambda file: file["name"])
    names = [check_file_name(file["name"]) for file in ordered]
    if len(set(names)) != len(names):
        raise BadManifest(f"two files are called {next(name for name in names if names.count(name) > 1)}")
    return canonical({"format": PART_FORMAT, "files": ordered, "schema": dict(schema), "statistics": dict(statistics)})


def read_part(text: bytes, digest: str) -> dict[str, Any]:
    """
    Raises:
        BadManifest: it is not the text of that digest.
    """
    if sha256(text) != digest:
        raise BadManifest(f"{PART_FILE} has the digest {sha256(text)} and should have {digest}")
    document = json.loads(text)
    if document.get("format") != PART_FORMAT:
        raise BadManifest(f"its format is {document.get('format')!r}, and this program reads {PART_FORMAT}")
    return document


def version_digest(header: Mapping[str, Any], parts: Iterable[tuple[str, str]]) -> bytes:
    """Of a version: `header` has its labels, schema, statistics and counts; `parts` are names and digests in order."""
    hashed = hashlib.sha256(canonical({"format": VERSION_FORMAT, **header}))
    for name, digest in parts:
        hashed.update(b"\n" + name.encode() + b"\0" + digest.encode())
    return hashed.digest()


def manifest_name(row: Mapping[str, Any]) -> str:
    """The object that lists a version's parts; `row` has its digest and number in the database."""
    return f"versions/{bytes(row['digest']).hex()}-{row['id']}.json.gz"


def check_version(document: Mapping[str, Any], digest: str) -> None:
    """
    Raises:
        BadManifest: it is not the manifest of the version with that digest.
    """
    header = {name: document[name] for name in ("labels", "schema", "statistics", "counts")}
    found = version_digest(header, ((part["name"], part["digest"]) for part in document["parts"])).hex()
    if f"sha256:{found}" != digest:
        raise BadManifest(f"the manifest has the digest sha256:{found} and should have {digest}")


def header_of(labels: Mapping[str, Any], total: Total) -> dict[str, Any]:
    """What of a version is hashed besides its parts."""
    return {"labels": dict(labels), "schema": total.schema, "statistics": total.statistics, "counts": total.counts}


class Total:
    """Parts added up, one after another."""

    def __init__(self) -> None:
        self.counts = {"parts": 0, "files": 0, "bytes": 0, "records": 0}
        self.schema: dict[str, str] = {}
        self.statistics: dict[str, Any] = {"columns": {}, "counters": {}}

    def add(self, part: Mapping[str, Any]) -> None:
        """`part` is a descriptor: files, bytes, records, schema, statistics."""
        self.counts["parts"] += 1
        for name in ("files", "bytes", "records"):
            self.counts[name] += part[name]
        for column, kind in part["schema"].items():
            if self.schema.setdefault(column, kind) != kind:
                self.schema[column] = MIXED
        add_statistics(self.statistics, part["statistics"])


def empty_column() -> dict[str, Any]:
    return {"count": 0, "nulls": 0, "min": None, "max": None, "sum": 0.0, "sum_squares": 0.0}


def add_statistics(total: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add the statistics of one part to those of others."""
    for name, column in more.get("columns", {}).items():
        mine = total["columns"].setdefault(name, empty_column())
        for key in ("count", "nulls", "sum", "sum_squares"):
            mine[key] += column[key]
        for key, choose in (("min", min), ("max", max)):
            known = [value for value in (mine[key], column[key]) if value is not None]
            mine[key] = choose(known) if known else None
    for name, counter in more.get("counters", {}).items():
        mine = total["counters"].setdefault(name, {})
        for key, count in counter.items():
            mine[key] = mine.get(key, 0) + count


def moments(column: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Mean and standard deviation."""
    if not column["count"]:
        return None, None
    mean = column["sum"] / column["count"]
    return mean, max(0.0, column["sum_squares"] / column["count"] - mean * mean) ** 0.5
