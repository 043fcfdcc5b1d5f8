"""One sample of the data set: what was seen and felt at one instant of a chosen segment, and what came next.

Guarantees: a sample is a pure function of the protected recording; the window behind it and the target ahead of it never reach over a
gap or the end of the recording; every sample says which file and which second of the drive it came from.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drive_dataset.canonical import LATITUDE, LONGITUDE, SPEED, STEERING, YAW_RATE
from drive_dataset.files import canonical_json, read_json
from drive_dataset.records import Recording
from drive_dataset.synchronise import Synchronised

FEATURES = (SPEED, YAW_RATE, STEERING)
WINDOW_HERTZ, WINDOW_SECONDS, AHEAD_SECONDS = 10.0, 2.0, 1.0
WINDOW_ROWS = int(WINDOW_HERTZ * WINDOW_SECONDS)
MOST_HOLE_SECONDS = 0.5


@dataclass(frozen=True)
class Sample:
    key: str
    about: dict[str, Any]  # a row of the index
    files: tuple[tuple[str, bytes], ...]  # suffix and content, in order


def samples(recording: Recording, synchronised: Synchronised, selected: Path) -> Iterator[Sample]:
    """In order of time, each instant once, with the reasons of all segments that it is in."""
    chosen = read_json(selected / "segments.json")
    reasons: dict[int, list[str]] = {}
    for segment in chosen["segments"]:
        for row in segment["instants"]:
            reasons.setdefault(row, []).append(segment["reason"])
    windows = _Windows(synchronised)
    for row in sorted(reasons):
        picture, sweep = selected / f"{row:07d}.jpg", selected / f"{row:07d}.npy"
        window, target = windows.at(row)
        if window is None and not picture.exists() and not sweep.exists():
            continue
        about = _about(recording, synchronised, row, reasons[row])
        about["target_speed"] = target
        about["found"] = chosen["pictures"].get(str(row), [])
        about["has_picture"], about["has_sweep"], about["has_signals"] = picture.exists(), sweep.exists(), window is not None
        files = [("json", canonical_json(about))]
        if window is not None:
            files += [("signals.npy", _array(window)), ("target.npy", _array(np.array([target], np.float32)))]
        if picture.exists():
            files.append(("jpg", picture.read_bytes()))
        if sweep.exists():
            files.append(("lidar.npy", sweep.read_bytes()))
        yield Sample(about["key"], about, tuple(files))


def _about(recording: Recording, synchronised: Synchronised, row: int, reasons: list[str]) -> dict[str, Any]:
    second = float(synchronised.t[row] - synchronised.t[0])
    values = {name: synchronised.column(name)[row] for name in (*FEATURES, LATITUDE, LONGITUDE)}
    return {
        "key": f"{recording.id}-{round(second * 1000):08d}",
        "recording": recording.id,
        "name": recording.name,
        "kind": recording.kind,
        "jurisdiction": recording.jurisdiction,
        "second": round(second, 3),
        "t": round(float(synchronised.t[row]), 6),
        "reasons": sorted(set(reasons)),
        **{name: None if np.isnan(value) else round(float(value), 6) for name, value in values.items()},
    }


class _Windows:
    """The last two seconds at ten a second, and the speed one second ahead."""

    def __init__(self, synchronised: Synchronised) -> None:
        self.t = synchronised.t
        self.columns = [synchronised.column(name) for name in FEATURES]

    def at(self, row: int) -> tuple[np.ndarray | None, float | None]:
        """Features that a recording does not have are zero throughout; a recording without speed has no window."""
        now = self.t[row]
        times = now - np.arange(WINDOW_ROWS)[::-1] / WINDOW_HERTZ
        speed = self.columns[0]
        if times[0] < self.t[0] - 1e-6 or now + AHEAD_SECONDS > self.t[-1] or self._hole(times[0], now + AHEAD_SECONDS):
            return None, None
        window = np.stack([np.interp(times, self.t, column) for column in self.columns], axis=1)
        target = float(np.interp(now + AHEAD_SECONDS, self.t, speed))
        if not np.isfinite(window[:, 0]).all() or not np.isfinite(target):
            return None, None
        return np.nan_to_num(window).astype(np.float32), round(target, 6)

    def _hole(self, start: float, end: float) -> bool:
        first, last = np.searchsorted(self.t, [start, end])
        return bool(np.diff(self.t[max(0, first - 1) : last + 1]).max(initial=0.0) > MOST_HOLE_SECONDS)


def _array(value: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, value, allow_pickle=False)
    return buffer.getvalue()
