"""What is different between two versions of a data set.

Guarantees: two equal versions have an empty difference; the difference of A and B is that of B and A the other way round. Names are
listed up to a limit, and counted without one.
"""

from __future__ import annotations

from bushel.spec.manifest import empty_column, moments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

NAMES_LIMIT = 100


def difference(
    old: Mapping[str, Any], new: Mapping[str, Any], old_parts: Mapping[str, str], new_parts: Mapping[str, str]
) -> dict[str, Any]:
    """`old` and `new` have counts, labels, schema and statistics; the parts are name → digest."""
    return {
        "same": not (old_parts != new_parts or any(old[name] != new[name] for name in ("labels", "schema", "statistics", "counts"))),
        "counts": {name: {"old": old["counts"][name], "new": new["counts"][name]} for name in sorted(new["counts"])},
        "parts": _parts(old_parts, new_parts),
        "schema": _mapping(old["schema"], new["schema"]),
        "labels": _mapping(old["labels"], new["labels"]),
        "columns": _columns(old["statistics"]["columns"], new["statistics"]["columns"]),
        "counters": _counters(old["statistics"]["counters"], new["statistics"]["counters"]),
    }


def _parts(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, Any]:
    names = {
        "added": [name for name in new if name not in old],
        "removed": [name for name in old if name not in new],
        "changed": [name for name in new if name in old and old[name] != new[name]],
    }
    return {kind: {"count": len(found), "names": found[:NAMES_LIMIT]} for kind, found in names.items()}


def _mapping(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Only what differs: name → old and new, None where it is not there."""
    names = sorted({*old, *new})
    return {name: {"old": old.get(name), "new": new.get(name)} for name in names if old.get(name) != new.get(name)}


def _columns(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    changed = {}
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if before != after:
            changed[name] = {"old": _summary(before), "new": _summary(after), "shift": _shift(before, after)}
    return changed


def _summary(column: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if column is None:
        return None
    mean, deviation = moments(column)
    return {name: column[name] for name in ("count", "nulls", "min", "max")} | {"mean": mean, "deviation": deviation}


def _shift(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> float | None:
    """How far the mean moved, in standard deviations of what was."""
    old_mean, deviation = moments(before or empty_column())
    new_mean, _ = moments(after or empty_column())
    if old_mean is None or new_mean is None or not deviation:
        return None
    return (new_mean - old_mean) / deviation


def _counters(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    changed = {name: _mapping(old.get(name, {}), new.get(name, {})) for name in sorted({*old, *new})}
    return {name: keys for name, keys in changed.items() if keys}
