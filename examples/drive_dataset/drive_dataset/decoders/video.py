"""Camera video: when each frame was taken, without keeping a pixel.

Guarantees: frames are counted by decoding them, so a broken tail is found; a video that cannot be entered anywhere (no key frame) is
refused by name. Times are Unix seconds where the file names its creation, else seconds since its first frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError

from drive_dataset.errors import Damaged, NoKeyFrames
from drive_dataset.records import SINCE_START, UNIX, Decoded, Finding, Frames, Recording

MOST_PIXELS = 1 << 26  # a frame of 67 megapixels


@dataclass(frozen=True)
class Probe:
    codec: str
    width: int
    height: int
    frames: int
    key_frames: int
    seconds: np.ndarray
    created: float | None
    broken: str | None  # what stopped the decoder before the end, if anything did


def decode(recording: Recording) -> Decoded:
    path = recording.paths()[0]
    about = probe(path)
    clock = SINCE_START if about.created is None else UNIX
    seconds = about.seconds + (about.created or 0.0)
    decoded = Decoded(recording.id, recording.kind, clock)
    decoded.frames = [Frames("camera", seconds, recording.relative(path), about.width, about.height)]
    decoded.facts = {"codec": about.codec, "frames": about.frames, "key_frames": about.key_frames}
    if about.broken:
        decoded.findings.append(
            Finding("truncated", f"the video ends in {about.broken}; {about.frames} frames before it are used", path.name)
        )
    return decoded


def probe(path: Path) -> Probe:
    """Decode once, cheaply (no colour conversion), and look at the clock of every frame."""
    with open_video(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        if stream.codec_context.width * stream.codec_context.height > MOST_PIXELS:
            raise Damaged(f"{path.name}: frames of {stream.codec_context.width}×{stream.codec_context.height} are no camera's")
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        stamps: list[float] = []
        keys, broken = 0, None
        try:
            for frame in container.decode(stream):
                stamps.append(frame.time if frame.time is not None else len(stamps) / rate)
                keys += frame.key_frame
        except FFmpegError as error:
            broken = str(error.strerror or error)
        created = _created(dict(container.metadata) | dict(stream.metadata))
        codec, width, height = stream.codec_context.name, stream.codec_context.width, stream.codec_context.height
        declared = stream.frames
    if not stamps or not keys:
        raise NoKeyFrames(f"{path.name}: no frame that a decoder can start from, {len(stamps)} frames decoded")
    if declared > len(stamps) and broken is None:
        broken = f"{declared - len(stamps)} frames that are not there"
    seconds = np.array(stamps) - stamps[0]
    return Probe(codec, width, height, len(stamps), keys, seconds, created, broken)


def open_video(path: Path) -> av.container.InputContainer:
    try:
        container = av.open(str(path), mode="r")
    except (FFmpegError, OSError, ValueError) as error:
        raise Damaged(f"{path.name} cannot be opened as video: {error}") from error
    if not container.streams.video:
        container.close()
        raise Damaged(f"{path.name} has no video stream")
    return container


def pictures(path: Path, wanted: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The frames with these numbers (ascending) as BGR pixels: decoding starts at the key frame before the first one."""
    if not len(wanted):
        return
    remaining = {int(number) for number in wanted}
    with open_video(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for number, frame in enumerate(container.decode(stream)):
            if number in remaining:
                remaining.discard(number)
                yield number, frame.to_ndarray(format="bgr24")
                if not remaining:
                    return


def _created(metadata: dict[str, str]) -> float | None:
    try:
        moment = datetime.fromisoformat(metadata["creation_time"].replace("Z", "+00:00"))
    except (KeyError, ValueError):
        return None
    return moment.timestamp() if moment.year >= 1990 else None  # cameras without a clock say 1904 or 1970
