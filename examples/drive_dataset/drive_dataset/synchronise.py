"""Bring all signals of a recording to one series of instants: the camera's frames, or a fixed clock where there is no camera.

Guarantees: nothing is invented. A value is interpolated only between two samples that are near enough; else it is missing. The distance
from each instant to the nearest sample is the error of that value, and its median, 95th percentile and maximum are reported by signal.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from drive_dataset.canonical import ALTITUDE, HEADING, LATITUDE, LEAD_DISTANCE, LONGITUDE, SPEED, STEERING, YAW_RATE
from drive_dataset.files import new_folder, read_json, read_parquet, write_json, write_parquet
from drive_dataset.geometry import geodetic
from drive_dataset.records import Decoded, Signal

FIXED_HERTZ = 10.0
COLUMNS = (SPEED, STEERING, YAW_RATE, LATITUDE, LONGITUDE, ALTITUDE, HEADING, LEAD_DISTANCE)
REACH_INTERVALS, LEAST_REACH_SECONDS, MOST_REACH_SECONDS = 3.0, 0.2, 3.0


@dataclass
class Synchronised:
    """`columns` has NaN where there is no value. `frame` is the number of the camera's frame, -1 without a camera."""

    recording: str
    clock: str  # "camera <stream>" or "fixed 10 Hz"
    t: np.ndarray
    frame: np.ndarray
    columns: dict[str, np.ndarray]
    errors: dict[str, dict[str, float]]

    def column(self, name: str) -> np.ndarray:
        return self.columns.get(name, np.full(len(self.t), np.nan))


def synchronise(decoded: Decoded) -> Synchronised:
    t, frame, clock = _instants(decoded)
    columns, errors = {}, {}
    for signal in [*decoded.signals, *_from_poses(decoded)]:
        if signal.name in COLUMNS and signal.name not in columns and len(signal.t):
            columns[signal.name], errors[signal.name] = resample(signal, t)
    return Synchronised(decoded.recording, clock, t, frame, columns, errors)


def _instants(decoded: Decoded) -> tuple[np.ndarray, np.ndarray, str]:
    if decoded.frames:
        camera = max(decoded.frames, key=lambda frames: len(frames.t))
        return camera.t, np.arange(len(camera.t), dtype=np.int32), f"camera {camera.stream}"
    start, end = decoded.span()
    first = np.ceil(start * FIXED_HERTZ)
    count = max(0, int(np.floor(end * FIXED_HERTZ) - first) + 1)
    return (first + np.arange(count)) / FIXED_HERTZ, np.full(count, -1, np.int32), f"fixed {FIXED_HERTZ:g} Hz"


def resample(signal: Signal, t: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
    """Linear between neighbours; angles the short way round. Missing where a neighbour is out of reach."""
    known, first = np.unique(signal.t, return_index=True)
    value = signal.value[first]
    interval = float(np.median(np.diff(known))) if len(known) > 1 else 0.0
    reach = min(MOST_REACH_SECONDS, max(LEAST_REACH_SECONDS, REACH_INTERVALS * interval))
    after = np.clip(np.searchsorted(known, t), 0, len(known) - 1)
    before = np.clip(after - 1, 0, len(known) - 1)
    to_before, to_after = np.abs(t - known[before]), np.abs(known[after] - t)
    nearest = np.minimum(to_before, to_after)
    inside = (t >= known[0] - reach / 3) & (t <= known[-1] + reach / 3)  # a little beyond the ends is still the end's value
    far = ~inside | (np.maximum(to_before, to_after) > 2 * reach) & (nearest > 1e-3)
    if signal.name == HEADING:
        resampled = np.degrees(np.unwrap(np.radians(value)))
        result = np.interp(t, known, resampled) % 360
    else:
        result = np.interp(t, known, value)
    result[far] = np.nan
    error = nearest[~far]
    if not len(error):
        return result, {"share": 0.0}
    return result, {
        "share": round(float(len(error) / max(1, len(t))), 6),
        "median_seconds": round(float(np.median(error)), 6),
        "p95_seconds": round(float(np.percentile(error, 95)), 6),
        "max_seconds": round(float(error.max()), 6),
    }


def _from_poses(decoded: Decoded) -> list[Signal]:
    """Places from poses on the earth, speed from any poses: used where no signal of that name is there."""
    poses = decoded.poses
    if poses is None or len(poses.t) < 3:
        return []
    velocity = np.linalg.norm(np.gradient(poses.position, poses.t, axis=0), axis=1)
    signals = [Signal(SPEED, "m/s", poses.t, velocity)]
    if poses.frame == "ecef":
        latitude, longitude, altitude = geodetic(poses.position)
        signals += [
            Signal(LATITUDE, "deg", poses.t, latitude),
            Signal(LONGITUDE, "deg", poses.t, longitude),
            Signal(ALTITUDE, "m", poses.t, altitude),
        ]
    return signals


def save(synchronised: Synchronised, path: Path) -> None:
    with new_folder(path) as part:
        columns = {"t": synchronised.t, "frame": synchronised.frame}
        columns |= {name: synchronised.columns[name] for name in sorted(synchronised.columns)}
        write_parquet(part / "synchronised.parquet", pa.table(columns))
        write_json(part / "synchronised.json", summary(synchronised))


def summary(synchronised: Synchronised) -> dict[str, Any]:
    return {
        "recording": synchronised.recording, "clock": synchronised.clock, "instants": len(synchronised.t), "errors": synchronised.errors,
    }  # fmt: skip


def load(path: Path) -> Synchronised:
    about = read_json(path / "synchronised.json")
    table = read_parquet(path / "synchronised.parquet")
    columns = {name: table[name].to_numpy() for name in table.column_names}
    t, frame = columns.pop("t"), columns.pop("frame")
    return Synchronised(about["recording"], about["clock"], t, frame, columns, about["errors"])
