"""What the data set is, in numbers, and whether it may be published.

Guarantees: numbers only, by side and over all: nothing here says where anything was recorded or shows anything of it, so this, and this
alone, may leave the jurisdiction. Each gate says what it wants, what is, and whether it holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from drive_dataset.errors import GateClosed

QUANTITIES = ("speed", "yaw_rate", "steering_angle", "target_speed")
HISTOGRAM_M_S = tuple(range(0, 45, 5))
SPEED_RANGE, MOST_MISSING, LEAST_SAMPLES = (-1.0, 70.0), 0.9, 1
MOST_DRIFT = 0.5  # of the mean speed against the version before


def statistics(rows: Sequence[dict[str, Any]], leaks: Sequence[str] = ()) -> dict[str, Any]:
    sides = sorted({row["side"] for row in rows})
    return {
        "samples": len(rows),
        "recordings": len({row["recording"] for row in rows}),
        "leaks": len(leaks),
        "kinds": dict(sorted(Counter(row["kind"] for row in rows).items())),
        "jurisdictions": sorted({row["jurisdiction"] for row in rows}),
        "all": _numbers(rows),
        "sides": {side: _numbers([row for row in rows if row["side"] == side]) for side in sides},
    }


def _numbers(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "samples": len(rows),
        "recordings": len({row["recording"] for row in rows}),
        "shards": len({row["shard"] for row in rows}),
        "reasons": dict(sorted(Counter(reason for row in rows for reason in row["reasons"]).items())),
        "pictures": sum(bool(row["has_picture"]) for row in rows),
        "sweeps": sum(bool(row["has_sweep"]) for row in rows),
        "blurred": sum(row["blurred"] for row in rows),
        "quantities": {name: _moments([row[name] for row in rows]) for name in QUANTITIES},
        "speed_histogram": _histogram([row["speed"] for row in rows]),
    }


def _moments(values: Sequence[float | None]) -> dict[str, float | int | None]:
    known = np.array([value for value in values if value is not None])
    if not len(known):
        return {"count": 0, "missing": len(values), "mean": None, "deviation": None, "least": None, "most": None}
    return {
        "count": len(known),
        "missing": len(values) - len(known),
        "mean": round(float(known.mean()), 6),
        "deviation": round(float(known.std()), 6),
        "least": round(float(known.min()), 6),
        "most": round(float(known.max()), 6),
    }


def _histogram(speeds: Sequence[float | None]) -> dict[str, int]:
    counts, _ = np.histogram([speed for speed in speeds if speed is not None], bins=[*HISTOGRAM_M_S, np.inf])
    return {f"from {low} m/s": int(count) for low, count in zip(HISTOGRAM_M_S, counts, strict=True)}


def gates(now: dict[str, Any], before: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Each: what it wants, what is, whether it holds. `before` is the statistics of the version before, if there is one."""
    speed = now["all"]["quantities"]["speed"]
    missing = speed["missing"] / max(1, now["samples"])
    rules: list[tuple[str, Any, bool]] = [
        (f"at least {LEAST_SAMPLES} sample", now["samples"], now["samples"] >= LEAST_SAMPLES),
        ("nothing leaks between the sides", now["leaks"], now["leaks"] == 0),
        ("something to train on", now["sides"].get("train", {}).get("samples", 0), "train" in now["sides"]),
        ("speeds of a car", [speed["least"], speed["most"]],
         speed["count"] == 0 or (SPEED_RANGE[0] <= speed["least"] and speed["most"] <= SPEED_RANGE[1])),
        (f"speed missing in at most {MOST_MISSING:.0%} of the samples", round(missing, 4), missing <= MOST_MISSING or speed["count"] == 0),
    ]  # fmt: skip
    if before is not None and speed["mean"] is not None and before["all"]["quantities"]["speed"]["mean"]:
        drift = abs(speed["mean"] / before["all"]["quantities"]["speed"]["mean"] - 1)
        rules.append((f"mean speed within {MOST_DRIFT:.0%} of the version before", round(drift, 4), drift <= MOST_DRIFT))
        rules.append(("not less than half the samples of before", now["samples"], now["samples"] * 2 >= before["samples"]))
    return [{"wants": wants, "is": value, "holds": holds} for wants, value, holds in rules]


def refuse_closed_gates(checked: Sequence[dict[str, Any]]) -> None:
    closed = [gate for gate in checked if not gate["holds"]]
    if closed:
        raise GateClosed("; ".join(f"wanted {gate['wants']}, it is {gate['is']}" for gate in closed))
