"""Divide recordings into train, validation and test so that nothing of one is known from another.

Guarantees: recordings that belong to one drive (of one device or folder, with less than ten minutes between them), or that passed the
same place (a cell of about a kilometre), are always on the same side; so are all that these are joined with. `leaks` proves it from the
finished rows alone, knowing nothing of how they were divided. The division depends on the content only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drive_dataset.canonical import LATITUDE, LONGITUDE
from drive_dataset.errors import Leak
from drive_dataset.records import UNIX, Recording
from drive_dataset.synchronise import Synchronised

SHARES = {"train": 0.7, "test": 0.15, "validation": 0.15}
DRIVE_GAP_SECONDS = 600.0
CELL_DEGREES = 0.01


@dataclass(frozen=True)
class Whereabouts:
    """When and where a recording was made, as far as it is known after protection."""

    recording: str
    start: float | None  # Unix seconds
    end: float | None
    seconds: float
    cells: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()  # the device that made it, the folder that it lay in


def whereabouts(synchronised: Synchronised, clock: str, recording: Recording) -> Whereabouts:
    t = synchronised.t
    start, end = (float(t[0]), float(t[-1])) if len(t) else (0.0, 0.0)
    latitude, longitude = synchronised.column(LATITUDE), synchronised.column(LONGITUDE)
    known = np.isfinite(latitude) & np.isfinite(longitude)
    cells = {
        f"{np.floor(a / CELL_DEGREES):.0f}/{np.floor(b / CELL_DEGREES):.0f}" for a, b in zip(latitude[known], longitude[known], strict=True)
    }
    dated = clock == UNIX
    sources = tuple(source for source in (recording.device(), f"folder {Path(recording.name).parent}") if source)
    times = (start, end) if dated else (None, None)
    return Whereabouts(synchronised.recording, *times, end - start, tuple(sorted(cells)), sources)


def split(rows: Sequence[Whereabouts]) -> dict[str, str]:
    """Side by recording: whole groups, the longest first, each to the side that is furthest from its share."""
    sizes = {row.recording: max(row.seconds, 0.1) for row in rows}
    order = sorted(groups(rows), key=lambda group: (-sum(sizes[member] for member in group), _mixed(group[0])))
    total = sum(sizes.values()) or 1.0
    filled = dict.fromkeys(SHARES, 0.0)
    sides: dict[str, str] = {}
    for group in order:
        side = max(SHARES, key=lambda name: SHARES[name] - filled[name] / total)
        filled[side] += sum(sizes[member] for member in group)
        sides |= dict.fromkeys(group, side)
    return sides


def _mixed(recording: str) -> str:
    return hashlib.sha256(recording.encode()).hexdigest()


def groups(rows: Sequence[Whereabouts]) -> list[list[str]]:
    """Recordings that must stay together: the connected parts of 'same drive' and 'same place'."""
    leader = {row.recording: row.recording for row in rows}

    def find(name: str) -> str:
        while leader[name] != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    for a, b in [*_same_drive(rows), *_same_place(rows)]:
        first, second = sorted((find(a), find(b)))
        leader[second] = first
    together: dict[str, list[str]] = {}
    for row in sorted(rows, key=lambda row: row.recording):
        together.setdefault(find(row.recording), []).append(row.recording)
    return list(together.values())


def _same_drive(rows: Sequence[Whereabouts]) -> Iterable[tuple[str, str]]:
    """Of one device or out of one folder, and with less than the gap between them."""
    latest: dict[str, Whereabouts] = {}
    for row in sorted((row for row in rows if row.start is not None), key=lambda row: (row.start or 0.0, row.recording)):
        for source in row.sources:
            before = latest.get(source)
            if before is not None and _near_in_time(before, row):
                yield before.recording, row.recording
            if before is None or (row.end or 0.0) > (before.end or 0.0):
                latest[source] = row


def _near_in_time(a: Whereabouts, b: Whereabouts) -> bool:
    if a.start is None or b.start is None or a.end is None or b.end is None:
        return False
    return max(a.start, b.start) - min(a.end, b.end) <= DRIVE_GAP_SECONDS


def _same_place(rows: Sequence[Whereabouts]) -> Iterable[tuple[str, str]]:
    first_in: dict[str, str] = {}
    for row in rows:
        for cell in row.cells:
            yield first_in.setdefault(cell, row.recording), row.recording


def leaks(rows: Sequence[Whereabouts], sides: dict[str, str]) -> list[str]:
    """Every way in which one side knows of another, in words. Empty is the proof."""
    found = []
    for at, a in enumerate(rows):
        for b in rows[at + 1 :]:
            if sides[a.recording] == sides[b.recording]:
                continue
            pair = f"{a.recording} ({sides[a.recording]}) and {b.recording} ({sides[b.recording]})"
            shared = sorted(set(a.cells) & set(b.cells))
            if shared:
                found.append(f"place: {pair} both passed cell {shared[0]}")
            if set(a.sources) & set(b.sources) and _near_in_time(a, b):
                found.append(f"time: {pair} are of one drive")
            if a.recording == b.recording:
                found.append(f"drive: {a.recording} is on both sides")
    return found


def refuse_leaks(rows: Sequence[Whereabouts], sides: dict[str, str]) -> None:
    found = leaks(rows, sides)
    if found:
        raise Leak("; ".join(found[:5]))


def document(rows: Sequence[Whereabouts], sides: dict[str, str]) -> dict[str, Any]:
    return {"sides": sides, "rows": [asdict(row) for row in rows], "groups": groups(rows)}
