"""CAN logs in ASAM MDF 4, decoded by a DBC.

Guarantees: every data frame of every bus is counted; times are Unix seconds, from the start that the file names; a file that its recorder
could not finish is read as far as it goes.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from asammdf import MDF
from asammdf.blocks.utils import MdfException

from drive_dataset import dbc
from drive_dataset.errors import Damaged, NothingUsable
from drive_dataset.records import UNIX, Decoded, Recording


def decode(recording: Recording) -> Decoded:
    path = recording.paths()[0]
    with open_mdf(path) as mdf:
        frames = can_frames(mdf)
        start = mdf.header.start_time.timestamp()
        version = mdf.version
    if not len(frames.t):
        raise NothingUsable(f"{path.name} holds no CAN frame")
    description, database = dbc.choose_database(frames, [Path(recording.folder) / name for name in recording.companions])
    signals = dbc.decode(dbc.CanFrames(frames.t + start, frames.identifier, frames.length, frames.data), database)
    facts = {
        "can_frames": len(frames.t),
        "mdf_version": version,
        "description": description.name,
        "frames_explained": int(sum(len(frames.of(message).t) for message in database.messages)),
        "duration_seconds": round(float(frames.t[-1] - frames.t[0]), 3),
    }
    return Decoded(recording.id, recording.kind, UNIX, signals, facts=facts)


def open_mdf(path: Path) -> MDF:
    try:
        return MDF(path, process_bus_logging=False)
    except (MdfException, ValueError, KeyError, IndexError, OSError, MemoryError, TypeError, OverflowError) as error:
        raise Damaged(f"{path.name} cannot be read as MDF: {error or type(error).__name__}") from error
    except Exception as error:  # struct.error and the like: whatever a reader trips over in foreign bytes
        raise Damaged(f"{path.name} cannot be read as MDF: {type(error).__name__}: {error}") from error


def can_frames(mdf: MDF) -> dbc.CanFrames:
    parts = []
    for number, group in enumerate(mdf.groups):
        names = {channel.name for channel in group.channels}
        if "CAN_DataFrame" not in names or not group.channel_group.cycles_nr:
            continue
        try:
            signal = mdf.get("CAN_DataFrame", group=number)
        except Exception as error:
            raise Damaged(f"{mdf.name.name}: its CAN frames cannot be read: {type(error).__name__}: {error}") from error
        rows = signal.samples
        fields = {re.sub(r"^CAN_DataFrame\.", "", name): name for name in rows.dtype.names or ()}
        identifier = rows[fields["ID"]].astype(np.int64) & 0x1FFFFFFF
        if "IDE" in fields:
            identifier |= rows[fields["IDE"]].astype(np.int64) << 31
        data = rows[fields["DataBytes"]]
        length = rows[fields["DataLength"]].astype(np.int64) if "DataLength" in fields else np.full(len(rows), data.shape[1])
        parts.append(dbc.CanFrames(np.asarray(signal.timestamps), identifier, length, np.asarray(data)))
    return _together(parts)


def _together(parts: list[dbc.CanFrames]) -> dbc.CanFrames:
    if not parts:
        return dbc.CanFrames(np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 8), np.uint8))
    width = max(part.data.shape[1] for part in parts)
    data = np.concatenate([np.pad(part.data, ((0, 0), (0, width - part.data.shape[1]))) for part in parts])
    t = np.concatenate([part.t for part in parts])
    order = np.argsort(t, kind="stable") if len(parts) > 1 else slice(None)
    identifier, length = np.concatenate([part.identifier for part in parts]), np.concatenate([part.length for part in parts])
    return dbc.CanFrames(t[order], identifier[order], length[order], data[order])


def identity(path: Path) -> str:
    """The recorder's serial number (or the file's own words), and the instant of its first frame."""
    with open_mdf(path) as mdf:
        comment = mdf.header.comment or ""
        serial = re.search(r'name="serial number"[^>]*>\s*([^<\s]+)', comment)
        frames = can_frames(mdf)
        first = float(frames.t[0]) if len(frames.t) else 0.0
        return f"mdf|{serial.group(1) if serial else ''}|{mdf.header.start_time.timestamp() + first:.6f}"
