"""What a recording is in here, whatever it was recorded as: signals, camera frames, sweeps and poses, each in columns.

Guarantees: times are float64 seconds of one clock per recording, which `Decoded.clock` names; every signal has a unit; what is written
by `save` is read back equal by `load`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from drive_dataset.files import new_folder, read_json, read_parquet, write_json, write_parquet

UNIX, SINCE_START = "unix", "since start"


@dataclass(frozen=True)
class Recording:
    """One line of the register. `id` is the digest of the content, so the same content is the same recording wherever it lies."""

    id: str
    kind: str
    name: str
    folder: str
    files: tuple[dict[str, Any], ...]  # path (relative to folder), bytes, sha256
    companions: tuple[str, ...] = ()  # descriptions beside it: DBC files, sensor metadata
    identity: str | None = None  # device and first instant, as the recording itself says
    jurisdiction: str = ""

    def paths(self) -> list[Path]:
        return [Path(self.folder) / file["path"] for file in self.files]

    def relative(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def device(self) -> str:
        """What made it, where the recording says so: `identity` is kind | device | first instant."""
        parts = (self.identity or "").split("|")
        return "|".join(parts[:2]) if len(parts) == 3 and parts[1] else ""

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, document: dict[str, Any]) -> Recording:
        return cls(**{**document, "files": tuple(document["files"]), "companions": tuple(document["companions"])})


@dataclass
class Signal:
    name: str
    unit: str
    t: np.ndarray
    value: np.ndarray

    def __post_init__(self) -> None:
        self.t = np.asarray(self.t, np.float64)
        self.value = np.asarray(self.value, np.float64)


@dataclass
class Frames:
    """When the pictures of one camera were taken and where they lie: pixels stay where they are until a segment is chosen."""

    stream: str
    t: np.ndarray
    source: str  # the video or bag, below the recording's folder; "" where only the times are known
    width: int = 0
    height: int = 0


@dataclass
class Sweeps:
    """One row for each turn of a LiDAR."""

    t: np.ndarray
    rows: int
    columns: int
    valid_columns: np.ndarray
    returns: np.ndarray  # points with a range
    mean_range: np.ndarray  # m
    source: str = ""


@dataclass
class Poses:
    """Places (m) and orientations (quaternion w, x, y, z) in `frame`: ecef, or local to the first pose."""

    t: np.ndarray
    position: np.ndarray
    orientation: np.ndarray
    frame: str


@dataclass
class Finding:
    """Something that was wrong, and whether it could be put right."""

    code: str
    message: str
    where: str = ""
    repaired: bool = True


@dataclass
class Decoded:
    recording: str
    kind: str
    clock: str
    signals: list[Signal] = field(default_factory=list)
    frames: list[Frames] = field(default_factory=list)
    sweeps: Sweeps | None = None
    poses: Poses | None = None
    facts: dict[str, Any] = field(default_factory=dict)  # counts and the like, for people and checks
    findings: list[Finding] = field(default_factory=list)

    def signal(self, name: str) -> Signal | None:
        return next((signal for signal in self.signals if signal.name == name), None)

    def span(self) -> tuple[float, float]:
        """First and last instant of anything in it."""
        times = [signal.t for signal in self.signals] + [frames.t for frames in self.frames]
        times += [part.t for part in (self.sweeps, self.poses) if part is not None]
        times = [t for t in times if len(t)]
        return (min(float(t[0]) for t in times), max(float(t[-1]) for t in times)) if times else (0.0, 0.0)


def save(decoded: Decoded, path: Path) -> None:
    """One folder: signals.parquet, frames.parquet, sweeps.parquet, poses.parquet (those that there are) and recording.json."""
    with new_folder(path) as part:
        if decoded.signals:
            write_parquet(part / "signals.parquet", signal_table(decoded.signals))
        if decoded.frames:
            write_parquet(part / "frames.parquet", _frame_table(decoded.frames))
        if decoded.sweeps is not None:
            write_parquet(part / "sweeps.parquet", _sweep_table(decoded.sweeps))
        if decoded.poses is not None:
            write_parquet(part / "poses.parquet", _pose_table(decoded.poses))
        write_json(part / "recording.json", _summary(decoded))


def _summary(decoded: Decoded) -> dict[str, Any]:
    start, end = decoded.span()
    return {
        "recording": decoded.recording,
        "kind": decoded.kind,
        "clock": decoded.clock,
        "start": start,
        "end": end,
        "signals": {s.name: {"unit": s.unit, "count": len(s.t)} for s in decoded.signals},
        "frames": [
            {"stream": f.stream, "source": f.source, "width": f.width, "height": f.height, "count": len(f.t)} for f in decoded.frames
        ],
        "sweeps": None if decoded.sweeps is None else {k: getattr(decoded.sweeps, k) for k in ("rows", "columns", "source")},
        "poses": None if decoded.poses is None else {"frame": decoded.poses.frame, "count": len(decoded.poses.t)},
        "facts": decoded.facts,
        "findings": [asdict(finding) for finding in decoded.findings],
    }


def load(path: Path) -> Decoded:
    summary = read_json(path / "recording.json")
    decoded = Decoded(summary["recording"], summary["kind"], summary["clock"], facts=summary["facts"])
    decoded.findings = [Finding(**finding) for finding in summary["findings"]]
    if summary["signals"]:
        table = read_parquet(path / "signals.parquet", columns=["t", "value"])
        t, value = table["t"].to_numpy(), table["value"].to_numpy()
        start = 0
        for name, about in summary["signals"].items():  # sorted by name, as the rows are
            stop = start + about["count"]
            decoded.signals.append(Signal(name, about["unit"], t[start:stop], value[start:stop]))
            start = stop
    if summary["frames"]:
        t, start = read_parquet(path / "frames.parquet", columns=["t"])["t"].to_numpy(), 0
        for about in summary["frames"]:
            stop = start + about["count"]
            decoded.frames.append(Frames(about["stream"], t[start:stop], about["source"], about["width"], about["height"]))
            start = stop
    if summary["sweeps"]:
        columns = {name: values.to_numpy() for name, values in zip(*_columns(path / "sweeps.parquet"), strict=True)}
        decoded.sweeps = Sweeps(**columns, **summary["sweeps"])
    if summary["poses"]:
        columns = {name: values.to_numpy() for name, values in zip(*_columns(path / "poses.parquet"), strict=True)}
        position = np.column_stack([columns[axis] for axis in ("x", "y", "z")])
        orientation = np.column_stack([columns[axis] for axis in ("qw", "qx", "qy", "qz")])
        decoded.poses = Poses(columns["t"], position, orientation, summary["poses"]["frame"])
    return decoded


def _columns(path: Path) -> tuple[list[str], list[pa.ChunkedArray]]:
    table = read_parquet(path)
    return table.column_names, table.columns


def signal_table(signals: list[Signal]) -> pa.Table:
    """Rows (name, unit, t, value), by name and then as recorded."""
    signals.sort(key=lambda signal: signal.name)
    counts = [len(signal.t) for signal in signals]
    units = sorted({signal.unit for signal in signals})  # each once: with a value twice in a dictionary its file has other bytes each time
    name = np.repeat(np.arange(len(signals), dtype=np.int32), counts)
    unit = np.repeat(np.array([units.index(signal.unit) for signal in signals], np.int32), counts)
    return pa.table({
        "name": pa.DictionaryArray.from_arrays(pa.array(name), [signal.name for signal in signals]),
        "unit": pa.DictionaryArray.from_arrays(pa.array(unit), units),
        "t": np.concatenate([signal.t for signal in signals]),
        "value": np.concatenate([signal.value for signal in signals]),
    })  # fmt: skip


def _frame_table(frames: list[Frames]) -> pa.Table:
    return pa.table({
        "stream": pa.array([part.stream for part in frames for _ in part.t], pa.string()),
        "index": np.concatenate([np.arange(len(part.t), dtype=np.int32) for part in frames]),
        "t": np.concatenate([part.t for part in frames]),
    })  # fmt: skip


def _sweep_table(sweeps: Sweeps) -> pa.Table:
    return pa.table({name: np.asarray(getattr(sweeps, name)) for name in ("t", "valid_columns", "returns", "mean_range")})


def _pose_table(poses: Poses) -> pa.Table:
    columns = {"t": poses.t}
    columns |= {axis: poses.position[:, number] for number, axis in enumerate(("x", "y", "z"))}
    columns |= {axis: poses.orientation[:, number] for number, axis in enumerate(("qw", "qx", "qy", "qz"))}
    return pa.table(columns)
