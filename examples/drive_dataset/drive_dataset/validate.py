"""Look at a recording's files before anything is decoded: is it still what was registered, is it whole, can it be entered?

Guarantees: cheap (headers and tables of contents; nothing is decoded but by need), and it raises for what no stage could use. What later
stages will work around (a cut tail, an unfinished file) is a finding.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from drive_dataset.errors import Damaged, DriveError, NoKeyFrames
from drive_dataset.files import sha256_of
from drive_dataset.kinds import ARRAY, COMMA2K19, LIDAR, MCAP, MDF, VIDEO, kind_of_file, refuse_bomb_inside
from drive_dataset.records import Finding, Recording


def validate(recording: Recording) -> list[Finding]:
    """Raises a `BadRecord` that names the recording."""
    try:
        _unchanged(recording)
        check = _CHECKS.get(recording.kind)
        return check(recording) if check else []
    except DriveError as error:
        error.record = error.record or recording.id
        raise


def document(recording: Recording, findings: list[Finding]) -> dict[str, Any]:
    return {"recording": recording.id, "name": recording.name, "findings": [asdict(finding) for finding in findings]}


def _unchanged(recording: Recording) -> None:
    for path, file in zip(recording.paths(), recording.files, strict=True):
        if not path.exists():
            raise Damaged(f"{file['path']} is gone since it was registered")
        if path.stat().st_size != file["bytes"] or sha256_of(path) != file["sha256"]:
            raise Damaged(f"{file['path']} has changed since it was registered")
        kind_of_file(path)


def _mdf(recording: Recording) -> list[Finding]:
    path = recording.paths()[0]
    refuse_bomb_inside(path, MDF)
    head = path.open("rb").read(64)
    return [Finding("unfinished", "the recorder lost power before it finished the file", path.name)] if head.startswith(b"UnFinMF") else []


def _mcap(recording: Recording) -> list[Finding]:
    path = recording.paths()[0]
    refuse_bomb_inside(path, MCAP)
    with path.open("rb") as file:
        file.seek(-min(8, path.stat().st_size), 2)
        whole = file.read() == b"\x89MCAP0\r\n"
    return [] if whole else [Finding("truncated", "its closing magic is not there; it is read in order instead", path.name)]


def _video(recording: Recording) -> list[Finding]:
    """Packets only: not one frame is decoded."""
    from av.error import FFmpegError

    from drive_dataset.decoders.video import open_video

    path = recording.paths()[0]
    packets = keys = 0
    broken = ""
    with open_video(path) as container:
        declared = container.streams.video[0].frames
        try:
            for packet in container.demux(container.streams.video[0]):
                packets += packet.size > 0
                keys += packet.is_keyframe and packet.size > 0
        except FFmpegError as error:
            broken = str(error)
    if not keys:
        raise NoKeyFrames(f"{path.name}: {packets} packets, and none that a decoder can start from")
    if broken or declared > packets:
        return [Finding("truncated", f"{packets} of {declared or 'unknown'} frames are there {broken}".strip(), path.name)]
    return []


def _lidar(recording: Recording) -> list[Finding]:
    """Walk the capture's record headers (libpcap format, 24 bytes, then 16 before each packet)."""
    path = recording.paths()[0]
    size = path.stat().st_size
    with path.open("rb") as file:
        order = "<" if file.read(4) in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
        at = file.seek(24)
        packets = 0
        while at + 16 <= size:
            captured = struct.unpack(f"{order}IIII", file.read(16))[2]
            if captured > 1 << 18:
                raise Damaged(f"{path.name}: a packet of {captured:,} bytes after {packets}")
            if at + 16 + captured > size:
                break
            at = file.seek(at + 16 + captured)
            packets += 1
    if not packets:
        raise Damaged(f"{path.name}: no packet")
    return [Finding("truncated", f"the last packet is cut; {packets} before it are used", path.name)] if at != size else []


def _comma2k19(recording: Recording) -> list[Finding]:
    findings = []
    for path in recording.paths():
        if kind_of_file(path) != ARRAY:
            continue
        try:
            np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError):
            from drive_dataset.decoders.comma2k19 import load_array

            rows = len(load_array(path))  # raises where nothing is left
            findings.append(Finding("truncated", f"cut; {rows:,} rows are there", _channel(path)))
    return findings


def _channel(path: Path) -> str:
    return "/".join(path.parts[-3:])


_CHECKS: dict[str, Callable[[Recording], list[Finding]]] = {MDF: _mdf, MCAP: _mcap, VIDEO: _video, LIDAR: _lidar, COMMA2K19: _comma2k19}
