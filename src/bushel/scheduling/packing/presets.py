"""How much each part of a node's value weighs: one set where nothing leaves, one where work comes and goes.

Guarantees: the same constants for every fleet and every demand; which set serves depends on turnover alone, with a band between
the two thresholds in which the set that serves stays, so a fleet on the edge does not flap.

Packing without departures can be greedy to the last thousandth of a device. With them, small differences would spread work over all
nodes and large tasks would starve: costs weigh less against order, so that the last nodes stay empty.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Preset:
    """`quantum`: costs nearer than this many thousandths of a device are equal. `slope`: how many quanta the last node in order
    costs more than the first. `by_volume`: a class weighs by the devices it asks for, else by how often it comes. Classes of
    several devices together weigh `several` plus `several_share` of their own part."""

    usable: float
    cpu_stranding: float
    memory_stranding: float
    quantum: float
    slope: float
    by_volume: bool
    several: float
    several_share: float


FILL = Preset(0.1, 0.7, 0.7, 20.0, 0.0, by_volume=True, several=0.25, several_share=0.0)
"""Next to nothing leaves."""

STEADY = Preset(1.0, 0.4, 0.4, 20.0, 10.0, by_volume=False, several=0.01, several_share=1.0)
"""Work comes and goes: the rule for a live platform."""

TURNOVER_EVENTS = 1000
"""Turnover is looked at once in so many arrivals and departures."""

_STEADY_ABOVE = 0.2
_FILL_BELOW = 0.1


def steady_next(steady: bool, arrivals: int, departures: int) -> bool:
    """Whether the steady set serves, after a stretch of `TURNOVER_EVENTS` events; `steady` is what served until now."""
    return departures > (_FILL_BELOW if steady else _STEADY_ABOVE) * arrivals


_FIRST_RELEARNINGS = (1, 20, 50, 100, 200, 400, 700)


def relearning_moments(arrivals: int) -> list[int]:
    """After how many of so many arrivals what was learnt is learnt anew: soon at first, then every thousand, then every twentieth more."""
    moments = [moment for moment in _FIRST_RELEARNINGS if moment < arrivals]
    moment = 1000
    while moment < arrivals:
        moments.append(moment)
        moment += max(1000, moment // 20)
    return moments
