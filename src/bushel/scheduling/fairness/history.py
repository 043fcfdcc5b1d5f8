"""Past use, halved every half-life.

Guarantees: a value and its moment are kept and touched only when used, and give the same as the sum over all past use. History
scales the order of jobs of one class, core or bonus, and nothing else: no entitlement, no rank, nobody stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log

History = tuple[Mapping[str, float], float]
"""Resource-seconds by resource, and the moment that they are of, in seconds since 1970."""


def decayed(history: History, now_seconds: float, half_life_seconds: float, more: Mapping[str, float] | None = None) -> History:
    """The same history as of now, with `more` resource-seconds used just now."""
    past, then = history
    factor = 2.0 ** ((then - now_seconds) / half_life_seconds)
    values = {name: value * factor for name, value in past.items()}
    for name, value in (more or {}).items():
        values[name] = values.get(name, 0.0) + value
    return values, now_seconds


def past_use(history: History, now_seconds: float, half_life_seconds: float, slice_amounts: Mapping[str, int]) -> float:
    """Mean past use as a multiple of the slice, of the resource where it is most. 1.0: it used its slice all the time."""
    past, _ = decayed(history, now_seconds, half_life_seconds)
    lifetime = half_life_seconds / log(2.0)  # what a constant use of one adds up to
    return max((value / lifetime / max(1, slice_amounts.get(name, 0)) for name, value in past.items()), default=0.0)
