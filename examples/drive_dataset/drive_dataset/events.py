"""Find what is worth learning from, in signals that cost nothing to read.

Guarantees: pure functions of synchronised signals; each event says when, why, and with which numbers, so that a person can check it.
Thresholds are those of the naturalistic driving literature (hard braking: 0.3 g and more) where it has any.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from drive_dataset.canonical import LEAD_DISTANCE, SPEED, YAW_RATE
from drive_dataset.synchronise import Synchronised

BRAKING = -3.0  # m/s²
BRAKING_SECONDS = 0.4
STANDING, STANDING_SECONDS, DRIVING = 0.3, 2.0, 2.0
LANE_METRES, LANE_SECONDS, LEAST_LANE_SPEED = (2.4, 4.8), (4.0, 5.0, 6.0), 8.0
MOST_HEADING_CHANGE = np.radians(2.5)
LEAST_SWERVE, LEAST_LIKENESS = 0.008, 0.88  # rad/s; of the turning to one period of a sine
CUT_IN_METRES, CUT_IN_NEAR, CUT_IN_SECONDS = 8.0, 60.0, 0.6


@dataclass(frozen=True)
class Event:
    reason: str
    start: float
    end: float
    evidence: dict[str, float] = field(default_factory=dict)


def find(synchronised: Synchronised) -> list[Event]:
    t = synchronised.t
    if len(t) < 20:
        return []
    speed = synchronised.column(SPEED)
    events = hard_braking(t, speed) + stops(t, speed)
    events += lane_changes(t, speed, synchronised.column(YAW_RATE)) + cut_ins(t, speed, synchronised.column(LEAD_DISTANCE))
    return sorted(events, key=lambda event: (event.start, event.reason))


def hard_braking(t: np.ndarray, speed: np.ndarray) -> list[Event]:
    slope = acceleration(t, speed)
    return [_braking(t, speed, slope, a, b) for a, b in runs(slope < BRAKING) if t[b] - t[a] >= BRAKING_SECONDS]


def _braking(t: np.ndarray, speed: np.ndarray, slope: np.ndarray, a: int, b: int) -> Event:
    numbers = {"strongest_m_s2": slope[a : b + 1].min(), "from_m_s": speed[a], "to_m_s": speed[b]}
    return Event("hard braking", float(t[a]), float(t[b]), {name: round(float(number), 2) for name, number in numbers.items()})


def acceleration(t: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """From speed over half a second either way: an accelerometer also feels hills and mountings."""
    interval = float(np.median(np.diff(t))) or 0.1
    reach = max(1, round(0.25 / interval))
    slope = np.full(len(t), np.nan)
    slope[reach:-reach] = (speed[2 * reach :] - speed[: -2 * reach]) / np.maximum(t[2 * reach :] - t[: -2 * reach], 1e-3)
    return slope


def stops(t: np.ndarray, speed: np.ndarray) -> list[Event]:
    found = []
    for a, b in runs(speed < STANDING):
        before = speed[(t >= t[a] - 15) & (t < t[a])]
        if t[b] - t[a] >= STANDING_SECONDS and len(before) and np.nanmax(before, initial=0.0) > DRIVING:
            found.append(Event("stop", float(t[a]), float(t[b]), {"standing_seconds": round(float(t[b] - t[a]), 2)}))
    return found


def lane_changes(t: np.ndarray, speed: np.ndarray, yaw_rate: np.ndarray) -> list[Event]:
    """To one side and back to the old heading, by about a lane: what a bend does not do."""
    if not np.isfinite(yaw_rate).any():
        return []
    interval = float(np.median(np.diff(t)))
    standing = yaw_rate[speed < STANDING]
    bias = float(np.nanmedian(standing)) if np.isfinite(standing).sum() > 20 else 0.0  # what the gyroscope says when nothing turns
    candidates = []
    for seconds in LANE_SECONDS:
        width = round(seconds / interval)
        for a in range(0, len(t) - width, max(1, round(0.2 / interval))):
            part = slice(a, a + width + 1)
            measured = _lane_change(t[part], speed[part], yaw_rate[part] - bias)
            if measured is not None:
                candidates.append((measured["likeness"], Event("lane change", float(t[a]), float(t[a + width]), measured)))
    found: list[Event] = []
    for _, event in sorted(candidates, key=lambda candidate: (-candidate[0], candidate[1].start)):
        if all(event.end < other.start or event.start > other.end for other in found):
            found.append(event)
    return found


def _lane_change(t: np.ndarray, speed: np.ndarray, yaw_rate: np.ndarray) -> dict[str, float] | None:
    if not (np.isfinite(speed).all() and np.isfinite(yaw_rate).all()) or speed.min() < LEAST_LANE_SPEED or t[-1] - t[0] > 8:
        return None
    steps = np.diff(t)
    heading = np.concatenate([[0.0], np.cumsum((yaw_rate[1:] + yaw_rate[:-1]) / 2 * steps)])
    if abs(heading[-1]) > MOST_HEADING_CHANGE or np.abs(yaw_rate).max() < LEAST_SWERVE:
        return None
    sideways = float(np.sum((speed[1:] + speed[:-1]) / 2 * np.sin((heading[1:] + heading[:-1]) / 2) * steps))
    # One swing to the side and one back: a long bend that changes its direction is a ramp instead, which is like it to 0.8 only.
    swing = np.sin(2 * np.pi * (t - t[0]) / (t[-1] - t[0]))
    likeness = float(np.sum(yaw_rate * swing) / np.sqrt(np.sum(yaw_rate**2) * np.sum(swing**2)))
    if not LANE_METRES[0] <= abs(sideways) <= LANE_METRES[1] or abs(likeness) < LEAST_LIKENESS:
        return None
    numbers = {"sideways_m": sideways, "heading_change_deg": np.degrees(heading[-1]), "speed_m_s": speed.mean(), "likeness": abs(likeness)}
    return {name: round(float(number), 2) for name, number in numbers.items()}


def cut_ins(t: np.ndarray, speed: np.ndarray, lead: np.ndarray) -> list[Event]:
    """The distance to the vehicle ahead becomes shorter at once, and stays so."""
    known = np.flatnonzero(np.isfinite(lead))
    found: list[Event] = []
    for a, b in pairwise(known):
        if t[b] - t[a] > 0.5 or lead[a] - lead[b] < 0.4 * CUT_IN_METRES or not lead[b] < CUT_IN_NEAR or not speed[b] > 5:
            continue
        before, after = lead[(t >= t[a] - CUT_IN_SECONDS) & (t <= t[a])], lead[(t >= t[b] + 0.2) & (t <= t[b] + CUT_IN_SECONDS)]
        if len(after) < 2 or not np.isfinite(after).all() or not np.isfinite(before).all():
            continue
        drop = float(np.median(before) - np.median(after))
        if drop >= CUT_IN_METRES and after.max() < before.min() and (not found or t[a] - found[-1].end > 2):
            found.append(Event("cut-in", float(t[a]), float(t[b]), {"from_m": round(float(lead[a]), 1), "to_m": round(float(lead[b]), 1)}))
    return found


def runs(holds: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of each stretch where it holds. NaN compares false, so it holds nowhere."""
    edges = np.diff(np.concatenate([[False], holds, [False]]).astype(np.int8))
    return list(zip(np.flatnonzero(edges == 1).tolist(), (np.flatnonzero(edges == -1) - 1).tolist(), strict=True))
