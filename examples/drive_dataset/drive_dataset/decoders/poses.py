"""Poses as KITTI writes them: twelve numbers a line, a 3 × 4 matrix each.

Guarantees: rotations are proper to a thousandth, or the file is refused; there are no times in this format, so the clock counts
poses at the 10 Hz of the sensors that it is written for, and says so.
"""

from __future__ import annotations

import numpy as np

from drive_dataset.errors import Damaged
from drive_dataset.records import SINCE_START, Decoded, Finding, Poses, Recording

HERTZ = 10.0


def decode(recording: Recording) -> Decoded:
    path = recording.paths()[0]
    lines = path.read_text().split("\n")
    rows, broken = [], None
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        try:
            row = [float(word) for word in words]
        except ValueError:
            row = []
        if len(row) != 12:
            broken = f"line {number} is no pose; {len(rows)} before it are used"
            break
        rows.append(row)
    matrices = np.array(rows).reshape(-1, 3, 4)
    rotations = matrices[:, :, :3]
    if not len(rows) or np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max() > 1e-3:
        raise Damaged(f"{path.name}: its matrices do not turn, they bend")
    position = matrices[:, :, 3]
    decoded = Decoded(recording.id, recording.kind, SINCE_START)
    decoded.poses = Poses(np.arange(len(rows)) / HERTZ, position, quaternions(rotations), "local")
    decoded.facts = {"poses": len(rows), "path_metres": round(float(np.linalg.norm(np.diff(position, axis=0), axis=1).sum()), 3)}
    if broken:
        decoded.findings.append(Finding("truncated", broken, path.name))
    return decoded


def quaternions(rotations: np.ndarray) -> np.ndarray:
    """(w, x, y, z) with w ≥ 0, by the largest of the four squares (Shepperd 1978), so it holds near half turns too."""
    m = rotations
    trace = np.trace(m, axis1=1, axis2=2)
    squares = np.stack([trace, m[:, 0, 0] * 2 - trace, m[:, 1, 1] * 2 - trace, m[:, 2, 2] * 2 - trace], axis=1) + 1
    sums = {
        (0, 1): m[:, 2, 1] - m[:, 1, 2], (0, 2): m[:, 0, 2] - m[:, 2, 0], (0, 3): m[:, 1, 0] - m[:, 0, 1],
        (1, 2): m[:, 1, 0] + m[:, 0, 1], (1, 3): m[:, 0, 2] + m[:, 2, 0], (2, 3): m[:, 2, 1] + m[:, 1, 2],
    }  # fmt: skip
    largest = squares.argmax(axis=1)
    result = np.empty((len(m), 4))
    for k in range(4):
        here = largest == k
        root = np.sqrt(squares[here, k])
        for other in range(4):
            result[here, other] = root / 2 if other == k else sums[(min(k, other), max(k, other))][here] / (2 * root)
    result[result[:, 0] < 0] *= -1
    return result
