"""Signals spoilt in every way that recorders spoil them, mended, and compared with the true ones."""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import json

import numpy as np
from drive_dataset.generate.__main__ import NORTH
from drive_dataset.generate.sensors import sense
from drive_dataset.generate.vehicle import drive
from drive_dataset.records import UNIX, Decoded, Signal
from drive_dataset.repair import repair

SENSED = sense(NORTH, drive(NORTH))


def true() -> Decoded:
    """As a recorder without a fault has it."""
    fast, fix = SENSED.fast_t + NORTH.start, SENSED.fix_t + NORTH.start
    decoded = Decoded("r", "mdf", UNIX)
    decoded.signals = [Signal("speed", "m/s", fast, SENSED.speed), Signal("yaw_rate", "rad/s", fast, SENSED.rates[:, 2])]
    decoded.signals += [Signal(f"acceleration_{axis}", "m/s²", fast, SENSED.acceleration[:, at]) for at, axis in enumerate("xyz")]
    places = {"latitude": SENSED.latitude, "longitude": SENSED.longitude, "heading": SENSED.heading}
    decoded.signals += [Signal(name, "deg", fix, value) for name, value in places.items()]
    for signal in decoded.signals:
        signal.t, signal.value = signal.t.copy(), signal.value.copy()
    return decoded


def scale(name: str, factor: float):
    def spoil(decoded: Decoded) -> None:
        for signal in decoded.signals:
            if signal.name.startswith(name):
                signal.value = signal.value * factor

    return spoil


def late(decoded: Decoded) -> None:
    speed = decoded.signal("speed")
    order = np.arange(len(speed.t))
    order[100:102], order[500:503] = [101, 100], [502, 500, 501]
    speed.t, speed.value = speed.t[order], speed.value[order]


def set_back(decoded: Decoded) -> None:
    decoded.signal("speed").t[1500:] -= 100.0


def no_fix(decoded: Decoded) -> None:
    for name in ("latitude", "longitude"):
        decoded.signal(name).value[40:45] = 0.0


def places_as_integers(decoded: Decoded) -> None:
    for name in ("latitude", "longitude"):
        decoded.signal(name).value = np.round(decoded.signal(name).value * 1e7)


SPOILT = {
    "km/h": (scale("speed", 3.6), "wrong_unit"),
    "mph": (scale("speed", 1 / 0.44704), "wrong_unit"),
    "g": (scale("acceleration", 1 / 9.80665), "wrong_unit"),
    "deg/s": (scale("yaw_rate", 180 / np.pi), "wrong_unit"),
    "turned round": (scale("yaw_rate", -1.0), "wrong_sign"),
    "1e-7 degrees": (places_as_integers, "wrong_unit"),
    "late samples": (late, "time_backwards"),
    "clock set back": (set_back, "clock_reset"),
    "no fix": (no_fix, "no_fix"),
}


def main() -> None:
    assert repair(true()).findings == [], "a drive without fault has nothing to mend"
    said = {}
    for name, (spoil, code) in SPOILT.items():
        spoilt = true()
        spoil(spoilt)
        mended = repair(spoilt)
        found = code in {finding.code for finding in mended.findings}
        mended.findings = []
        again = [finding.code for finding in repair(mended).findings if finding.repaired]
        said[name] = {"found": found, "right": same(mended, true()), "again": again}
    print(json.dumps(said))


def same(mended: Decoded, wanted: Decoded) -> bool:
    """At every true instant the mended signal has the true value."""
    for signal in wanted.signals:
        other = mended.signal(signal.name)
        kept = np.isin(signal.t, other.t)
        if kept.mean() < 0.98 and signal.name != "speed":
            return False
        near = np.interp(signal.t, other.t, other.value)
        if np.percentile(np.abs(near - signal.value), 99) > 1e-3 * max(1.0, np.abs(signal.value).max()) + 0.03:
            return False
    return True


if __name__ == "__main__":
    main()
