"""Choose segments by their events, then fetch the heavy data of those alone.

Guarantees: every segment has its reason and the numbers behind it; pixels and sweeps are read for chosen instants only; a picture is
written only after `protect.blur` has looked at it, together with what was found in it. The same recording gives the same files.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from drive_dataset import events
from drive_dataset.files import new_folder, write_json
from drive_dataset.kinds import LIDAR, MCAP, ROS1, ROS2
from drive_dataset.protect import Policy, blur
from drive_dataset.records import Decoded, Recording
from drive_dataset.synchronise import Synchronised

BEFORE_SECONDS, AFTER_SECONDS, MOST_SECONDS = 4.0, 3.0, 20.0
SAMPLE_EVERY_SECONDS, SAMPLE_SECONDS = 60.0, 6.0
INSTANT_SECONDS = 0.5  # between two samples of a segment
MOST_PICTURE_WIDTH, JPEG_QUALITY = 640, 85


@dataclass(frozen=True)
class Segment:
    recording: str
    start: float
    end: float
    reason: str
    evidence: dict[str, float]
    instants: tuple[int, ...]  # rows of the synchronised table


def choose(synchronised: Synchronised) -> list[Segment]:
    """Segments around events. Plain stretches, one a minute, show the network what is ordinary."""
    t = synchronised.t
    if not len(t):
        return []
    found = [
        (
            max(t[0], event.start - BEFORE_SECONDS),
            min(t[-1], min(event.end, event.start + MOST_SECONDS) + AFTER_SECONDS),
            event.reason,
            event.evidence,
        )
        for event in events.find(synchronised)
    ]
    start = float(t[0])
    while start == t[0] or start + SAMPLE_SECONDS <= t[-1]:
        found.append((start, min(float(t[-1]), start + SAMPLE_SECONDS), "ordinary", {"one_in_seconds": SAMPLE_EVERY_SECONDS}))
        start += SAMPLE_EVERY_SECONDS
    return [
        Segment(synchronised.recording, float(a), float(b), reason, evidence, _instants(t, a, b))
        for a, b, reason, evidence in sorted(found, key=lambda one: (one[0], one[2]))
    ]  # fmt: skip


def _instants(t: np.ndarray, start: float, end: float) -> tuple[int, ...]:
    """Rows nearest to every half second of the recording, so that overlapping segments share theirs."""
    first, last = np.ceil((start - t[0]) / INSTANT_SECONDS), np.floor((end - t[0]) / INSTANT_SECONDS)
    wanted = t[0] + np.arange(first, last + 1) * INSTANT_SECONDS
    rows = np.clip(np.searchsorted(t, wanted - 1e-6), 0, len(t) - 1)
    return tuple(int(row) for row in np.unique(rows))


def select_to(recording: Recording, decoded: Decoded, synchronised: Synchronised, policy: Policy, path: Path) -> list[Segment]:
    segments = choose(synchronised)
    rows = np.unique([row for segment in segments for row in segment.instants]).astype(int)
    with new_folder(path) as part:
        pictures = fetch_pictures(recording, decoded, synchronised, rows, part) if policy.pictures else {}
        sweeps = fetch_sweeps(recording, decoded, synchronised, rows, part)
        write_json(part / "segments.json", {
            "recording": recording.id,
            "segments": [asdict(segment) for segment in segments],
            "pictures": pictures,  # by row: what was found and blurred
            "sweeps": sweeps,  # by row: number of the sweep
        })  # fmt: skip
    return segments


def fetch_pictures(
    recording: Recording, decoded: Decoded, synchronised: Synchronised, rows: np.ndarray, folder: Path
) -> dict[str, list[dict[str, Any]]]:
    camera = max(decoded.frames, key=lambda frames: len(frames.t), default=None)
    if camera is None or not camera.source or not len(rows):
        return {}
    numbers = synchronised.frame[rows]
    row_of = dict(zip(numbers.tolist(), rows.tolist(), strict=True))
    bag = recording.kind in (ROS1, ROS2, MCAP)
    source = Path(recording.folder) / camera.source
    if bag:
        from drive_dataset.decoders import ros

        read = ros.pictures(source, recording.kind, camera.stream, numbers)
    else:
        from drive_dataset.decoders import video

        read = video.pictures(source, numbers)
    found = {}
    for number, picture in read:
        safe, boxes = blur(_smaller(picture))
        row = row_of[number]
        cv2.imwrite(str(folder / f"{row:07d}.jpg"), safe, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        found[str(row)] = boxes
    return found


def _smaller(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    if width <= MOST_PICTURE_WIDTH:
        return picture
    return cv2.resize(picture, (MOST_PICTURE_WIDTH, round(height * MOST_PICTURE_WIDTH / width)), interpolation=cv2.INTER_AREA)


def fetch_sweeps(recording: Recording, decoded: Decoded, synchronised: Synchronised, rows: np.ndarray, folder: Path) -> dict[str, int]:
    """The sweep nearest to each instant, as ranges in millimetres (uint16 in units of 4 mm, so 262 m fit)."""
    if recording.kind != LIDAR or decoded.sweeps is None:
        return {}
    from drive_dataset.decoders import lidar

    nearest = {int(row): int(np.abs(decoded.sweeps.t - synchronised.t[row]).argmin()) for row in rows}
    metadata = Path(recording.folder) / next(name for name in recording.companions if Path(name).name == decoded.facts["metadata"])
    wanted = {number: row for row, number in reversed(nearest.items())}  # a sweep is stored once, for its first instant
    for number, scan in enumerate(lidar.sweeps(recording.paths()[0], metadata, [])):
        if number in wanted:
            ranges = np.minimum(scan.field("RANGE") // 4, 65535).astype(np.uint16)
            np.save(folder / f"{wanted[number]:07d}.npy", ranges)
    return {str(row): number for number, row in sorted(wanted.items())}
