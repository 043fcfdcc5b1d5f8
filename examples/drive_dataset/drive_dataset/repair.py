"""Put right what can be, say what cannot, refuse what must not be used.

Guarantees: after `repair` times never go backwards, every sample is finite and possible for a car, and speed, acceleration and places are
in their units even where the recorder mislabelled them, judged against an independent witness in the same recording. Nothing is mended in
silence: each change is a finding. Repairing twice changes nothing more.
"""

from __future__ import annotations

import numpy as np

from drive_dataset.canonical import ACCELERATION, HEADING, LATITUDE, LONGITUDE, RANGES, RATES, SPEED, YAW_RATE
from drive_dataset.errors import ClocksApart, NothingUsable
from drive_dataset.geometry import distances, east_north
from drive_dataset.records import Decoded, Finding, Signal

YEAR_SECONDS = 365.25 * 86400
CLOCK_RESET_SECONDS = 1.0  # a step back that no jitter explains
GAP_INTERVALS, LEAST_GAP_SECONDS = 10, 1.0
MOVING = 3.0  # m/s from which two speeds can be compared
TURNING = 0.02  # rad/s from which two rates of turning can be compared
RATIO_TOLERANCE = 0.08
GRAVITY = 9.80665


def repair(decoded: Decoded) -> Decoded:
    """Mends `decoded` in place and gives it back.

    Raises:
        ClocksApart: its parts are more than a year away from each other.
        NothingUsable: nothing was left.
    """
    _refuse_clocks_apart(decoded)
    for signal in decoded.signals:
        _drop(decoded, signal, ~np.isfinite(signal.t), "time_missing", "samples without a time")
        _drop(decoded, signal, ~np.isfinite(signal.value), None, "")  # how recorders write "no value"
        _order(decoded, signal)
    _units(decoded)
    _level(decoded)
    _turning_unit(decoded)
    for signal in decoded.signals:
        if signal.name in RANGES:
            low, high = RANGES[signal.name]
            _drop(
                decoded,
                signal,
                (signal.value < low) | (signal.value > high),
                "impossible",
                f"samples outside {low:g}…{high:g} {signal.unit}",
            )
        _gaps(decoded, signal.name, signal.t)
    decoded.signals = [signal for signal in decoded.signals if len(signal.t)]
    for frames in decoded.frames:
        _order_frames(decoded, frames.stream, frames.t)
        _gaps(decoded, frames.stream, frames.t)
    if not decoded.signals and not any(len(frames.t) for frames in decoded.frames) and decoded.sweeps is None and decoded.poses is None:
        raise NothingUsable("nothing of it can be used")
    return decoded


def _drop(decoded: Decoded, signal: Signal, bad: np.ndarray, code: str | None, what: str) -> None:
    count = int(np.count_nonzero(bad))
    if count:
        signal.t, signal.value = signal.t[~bad], signal.value[~bad]
        if code:
            decoded.findings.append(Finding(code, f"{count:,} {what} left out", signal.name))


def _refuse_clocks_apart(decoded: Decoded) -> None:
    streams = {signal.name: signal.t for signal in decoded.signals} | {frames.stream: frames.t for frames in decoded.frames}
    if decoded.sweeps is not None:
        streams["sweeps"] = decoded.sweeps.t
    middles: dict[str, float] = {}
    for name, t in streams.items():
        known = t[np.isfinite(t)]
        if not len(known):
            continue
        middles[name] = float(np.median(known))
        if np.abs(np.diff(known)).max(initial=0.0) > YEAR_SECONDS:
            raise ClocksApart(f"{name}: its own clock jumps by {np.abs(np.diff(known)).max() / YEAR_SECONDS:.1f} years")
    if middles:
        first, last = min(middles, key=lambda name: middles[name]), max(middles, key=lambda name: middles[name])
        apart = (middles[last] - middles[first]) / YEAR_SECONDS
        if apart > 1:
            raise ClocksApart(f"{first} and {last} are {apart:.1f} years apart")


def _order(decoded: Decoded, signal: Signal) -> None:
    steps = np.diff(signal.t)
    if not (steps < 0).any():
        return
    resets = np.flatnonzero(steps < -CLOCK_RESET_SECONDS)
    if 0 < len(resets) <= 3:  # the clock was set back: what follows goes on after it
        interval = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
        for at in resets:
            signal.t[at + 1 :] += signal.t[at] - signal.t[at + 1] + interval
        decoded.findings.append(
            Finding("clock_reset", f"the clock was set back {len(resets)} times; what follows was moved after it", signal.name)
        )
    count = int(np.count_nonzero(np.diff(signal.t) < 0))
    if count:
        order = np.argsort(signal.t, kind="stable")
        signal.t, signal.value = signal.t[order], signal.value[order]
        decoded.findings.append(Finding("time_backwards", f"{count:,} samples came late; put in order", signal.name))


def _order_frames(decoded: Decoded, stream: str, t: np.ndarray) -> None:
    """Frames keep their order, since it is how they are found again: a time that steps back is held instead."""
    count = int(np.count_nonzero(np.diff(t) < 0))
    if count:
        np.maximum.accumulate(t, out=t)
        decoded.findings.append(
            Finding("time_backwards", f"{count:,} frames are stamped before the one before; their time is held", stream)
        )


def _gaps(decoded: Decoded, name: str, t: np.ndarray) -> None:
    steps = np.diff(t)
    if len(steps) < 3:
        return
    limit = max(LEAST_GAP_SECONDS, GAP_INTERVALS * float(np.median(steps)))
    long = steps[steps > limit]
    if len(long):
        message = f"{len(long)} gaps, the longest {long.max():.2f} s; nothing is made up for them"
        decoded.findings.append(Finding("gap", message, name, repaired=False))


# Units, judged by a witness ----------------------------------------------------------------------------------------


def _units(decoded: Decoded) -> None:
    for name in (LATITUDE, LONGITUDE):
        place = decoded.signal(name)
        if place is not None and len(place.value) and np.median(np.abs(place.value)) > 1000:  # receivers send integers of 1e-7 degrees
            place.value = place.value * 1e-7
            decoded.findings.append(Finding("wrong_unit", "1e-7 degrees, said to be degrees; converted", name))
    _no_fix_at_zero(decoded)
    _speed_unit(decoded)
    _acceleration_unit(decoded)


def _no_fix_at_zero(decoded: Decoded) -> None:
    latitude, longitude = decoded.signal(LATITUDE), decoded.signal(LONGITUDE)
    if latitude is None or longitude is None or len(latitude.t) != len(longitude.t):
        return
    nowhere = (np.abs(latitude.value) < 1e-3) & (np.abs(longitude.value) < 1e-3)
    if nowhere.any():
        _drop(decoded, latitude, nowhere, "no_fix", "places at 0°, 0°")
        _drop(decoded, longitude, nowhere, None, "")


def witness_speed(decoded: Decoded) -> tuple[np.ndarray, np.ndarray] | None:
    """Speed from places, which nobody mislabels by 3.6: over ten fixes, so that their noise is small against the way."""
    latitude, longitude = decoded.signal(LATITUDE), decoded.signal(LONGITUDE)
    if latitude is not None and longitude is not None and len(latitude.t) == len(longitude.t) > 20:
        t, place = latitude.t, east_north(latitude.value, longitude.value)
    elif decoded.poses is not None and len(decoded.poses.t) > 20:
        t, place = decoded.poses.t, decoded.poses.position
    else:
        return None
    stride = max(1, int(1.0 / max(1e-3, float(np.median(np.diff(t))))))
    way, took = distances(place[::stride]), np.diff(t[::stride])
    good = (took > 0) & (took < 5)
    return (t[::stride][1:][good] + t[::stride][:-1][good]) / 2, way[good] / took[good]


def _ratio(signal: Signal, t: np.ndarray, witness: np.ndarray, moving: float) -> float | None:
    """How many times what the witness says; None where both together say too little."""
    here = (t >= signal.t[0]) & (t <= signal.t[-1]) & (np.abs(witness) > moving)
    if np.count_nonzero(here) < 5:
        return None
    return float(np.median(np.interp(t[here], signal.t, signal.value) / witness[here]))


def _speed_unit(decoded: Decoded) -> None:
    speed, witness = decoded.signal(SPEED), witness_speed(decoded)
    if speed is None or witness is None or len(speed.t) < 2:
        return
    ratio = _ratio(speed, *witness, MOVING)
    for unit, factor in (("km/h", 3.6), ("mph", 1 / 0.44704)):
        if ratio is not None and abs(ratio / factor - 1) < RATIO_TOLERANCE:
            speed.value = speed.value / factor
            decoded.findings.append(
                Finding("wrong_unit", f"{unit}, said to be m/s ({ratio:.2f} × the speed over ground); converted", SPEED)
            )


def _acceleration_unit(decoded: Decoded) -> None:
    axes = [signal for name in ACCELERATION if (signal := decoded.signal(name)) is not None]
    if len(axes) != 3 or len({len(axis.t) for axis in axes}) != 1 or not len(axes[0].t):
        return
    magnitude = float(np.median(np.sqrt(sum(axis.value**2 for axis in axes))))
    if 0.85 < magnitude < 1.15:  # a car is at one g, most of the time
        for axis in axes:
            axis.value = axis.value * GRAVITY
        decoded.findings.append(Finding("wrong_unit", f"g, said to be m/s² (gravity reads {magnitude:.2f}); converted", "acceleration"))


def _level(decoded: Decoded) -> None:
    """The rate of turning about the axis that points up, however the sensor was mounted: gravity shows the way."""
    force, rates = ([decoded.signal(name) for name in names] for names in (ACCELERATION, RATES))
    if decoded.signal(YAW_RATE) is not None or None in force or None in rates or len({len(s.t) for s in force + rates if s}) != 1:
        return
    mean = np.array([np.median(s.value) for s in force if s])
    if abs(float(np.linalg.norm(mean)) / GRAVITY - 1) > 0.1:
        return  # not at rest against gravity on the whole: no axis can be told
    up = mean / np.linalg.norm(mean)
    turning = sum(axis * s.value for axis, s in zip(up, rates, strict=True) if s)
    decoded.signals.append(Signal(YAW_RATE, "rad/s", rates[0].t, np.asarray(turning)))  # type: ignore[union-attr]


def _turning_unit(decoded: Decoded) -> None:
    """Degrees for radians, and clockwise for anticlockwise: the heading of the satellites tells."""
    yaw, heading = decoded.signal(YAW_RATE), decoded.signal(HEADING)
    if yaw is None or heading is None or len(heading.t) < 20 or len(yaw.t) < 2:
        return
    turned = -np.diff(np.unwrap(np.radians(heading.value)))  # headings grow clockwise
    way = np.concatenate([[0.0], np.cumsum(np.diff(yaw.t) * (yaw.value[1:] + yaw.value[:-1]) / 2)])
    felt = np.diff(np.interp(heading.t, yaw.t, way))
    good = (np.diff(heading.t) < 2) & (np.abs(turned) > TURNING * np.diff(heading.t))
    if np.count_nonzero(good) < 10 or abs(correlation := float(np.corrcoef(turned[good], felt[good])[0, 1])) < 0.5:
        return
    slope = float(np.sum(turned[good] * felt[good]) / np.sum(turned[good] ** 2))
    if 30 < abs(slope) < 90:
        yaw.value = np.radians(yaw.value)
        decoded.findings.append(Finding("wrong_unit", "deg/s, said to be rad/s; converted", YAW_RATE))
    if correlation < 0:
        yaw.value = -yaw.value
        decoded.findings.append(Finding("wrong_sign", "turns against the heading of the satellites; turned round", YAW_RATE))
