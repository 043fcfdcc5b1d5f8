"""LiDAR packets (UDP, captured as pcap) of Ouster sensors, by the sensor's metadata.

Guarantees: sweeps are what the maker's own library assembles; the metadata that fits is found among those at hand, by trying, and a
capture that none fits is refused by name. Times are Unix seconds of the capture.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from ouster.sdk import core, open_source

from drive_dataset.errors import Damaged, DescriptionMismatch, NoDescription
from drive_dataset.records import UNIX, Decoded, Finding, Recording, Sweeps

core.init_logger("off")
WHOLE_SWEEP = 0.98  # share of columns


def decode(recording: Recording) -> Decoded:
    path = recording.paths()[0]
    metadata = [Path(recording.folder) / name for name in recording.companions]
    if not metadata:
        raise NoDescription(f"{path.name}: LiDAR packets, and no sensor's metadata beside them")
    findings: list[Finding] = []
    rows: list[tuple[float, int, int, float]] = []
    shape, chosen, info = (0, 0), None, None
    for candidate in metadata:
        findings.clear()
        rows = []
        for scan in sweeps(path, candidate, findings):
            distance = scan.field("RANGE")
            returns = int(np.count_nonzero(distance))
            mean = float(distance.sum(dtype=np.int64)) / max(1, returns) / 1000
            stamp = scan.get_first_valid_packet_timestamp() or int(scan.timestamp[scan.timestamp > 0].min(initial=0))
            rows.append((stamp / 1e9, int(np.count_nonzero(scan.status & 1)), returns, mean))
            shape, info = (scan.h, scan.w), scan.sensor_info
        if rows:
            chosen = candidate
            break
    if chosen is None or info is None:
        names = ", ".join(sorted(candidate.name for candidate in metadata))
        raise DescriptionMismatch(f"{path.name}: {names} describe another sensor: no sweep comes together")
    t, valid, returns, mean = (np.array(column) for column in zip(*rows, strict=True))
    partial = int(np.count_nonzero(valid < WHOLE_SWEEP * shape[1]))
    if partial:
        findings.append(Finding("incomplete_sweeps", f"{partial} of {len(t)} sweeps lack columns", path.name, repaired=False))
    decoded = Decoded(recording.id, recording.kind, UNIX, findings=findings)
    decoded.sweeps = Sweeps(t, shape[0], shape[1], valid, returns, mean, recording.relative(path))
    decoded.facts = {"sensor": info.prod_line, "sweeps": len(t), "rows": shape[0], "columns": shape[1], "metadata": chosen.name}
    return decoded


def sweeps(path: Path, metadata: Path, findings: list[Finding] | None = None) -> Iterator[Any]:
    """Every sweep of the capture; a broken tail becomes a finding."""
    try:
        source = open_source(str(path), meta=[str(metadata)], collate=False)
    except Exception as error:  # the library raises RuntimeError, ValueError, OSError, …, for any foreign byte
        if findings is None:
            raise Damaged(f"{path.name} cannot be read with {metadata.name}: {error}") from error
        return
    read = iter(source)
    with suppress(StopIteration):
        while True:
            try:
                group = next(read)
            except StopIteration:
                raise
            except Exception as error:
                if findings is not None:
                    findings.append(Finding("truncated", f"the capture ends in the middle of a packet: {error}", path.name))
                return
            for scan in group:
                if scan is not None and np.any(scan.status & 1):
                    yield scan


def identity(path: Path, metadata: list[Path]) -> str | None:
    """Sensor and instant of the first packet, from the capture's own header: no sweep is assembled."""
    head = path.open("rb").read(40)
    if head[:4] != b"\xd4\xc3\xb2\xa1" or len(head) < 40:
        return None
    second, fraction = np.frombuffer(head[24:32], "<u4")
    return f"lidar|{_serial(metadata)}|{second}.{fraction:06d}"


def _serial(metadata: list[Path]) -> str:
    """Of the only sensor that is described; where there are several, nobody can tell without trying."""
    if len(metadata) != 1:
        return ""
    found = re.search(r'"prod_sn"\s*:\s*"([^"]*)"', metadata[0].read_text(errors="ignore"))
    return found.group(1) if found else ""
