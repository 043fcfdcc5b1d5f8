"""What packing learns for a plan: from all that waits and all that is live, by class.

Guarantees: a function of the snapshot's contents alone. Counts are rounded to powers of four, each by itself, so what is learnt stays
the same object while the demand stays about the same: a class that grows moves no other.
"""

from __future__ import annotations

from math import log2

import numpy as np

from bushel.scheduling.fleet import DEVICE_MILLI, Fleet
from bushel.scheduling.lines import Lines
from bushel.scheduling.packing.learning import Demand, learn, merged
from bushel.scheduling.packing.tables import Tables


class Learnt:
    """Remembers the last answer."""

    def __init__(self) -> None:
        self._known: tuple[object, Tables] | None = None

    def tables(self, fleet: Fleet, lines: Lines) -> Tables:
        """With models numbered as the fleet numbers them."""
        names = fleet.gpu_models()
        number = {name: place for place, name in enumerate(names)}
        demands = _coarse(merged([*_waiting(lines, number), *_live(fleet, number)]))
        order = [fleet.model_of[fleet.column_of[f"gpu/{name}"]] for name in names]
        key = demands, tuple(order), fleet.devices_used.shape[2]
        if self._known is None or self._known[0] != key:
            self._known = key, _turned(learn(demands, len(names), fleet.devices_used.shape[2]).steady, order)
        return self._known[1]


def _waiting(lines: Lines, number: dict[str, int]) -> list[Demand]:
    count = lines.count
    elements = np.bincount(lines.klass[:count], weights=lines.elements[:count], minlength=len(lines.shapes))
    found: list[Demand] = []
    for klass in np.flatnonzero(elements).tolist():
        for group in lines.shapes.shapes[klass].groups:
            request = group.request
            models = tuple(sorted(number[model] for model in request.gpu_models if model in number))
            if request.gpu_milli and group.count and (models or not request.gpu_models):
                amounts = request.cpu_milli, request.memory_bytes, *_parts(request.gpu_milli)
                found.append(Demand(*amounts, models, float(elements[klass]) * group.count))
    return found


def _live(fleet: Fleet, number: dict[str, int]) -> list[Demand]:
    return [
        Demand(cpu, memory, *_parts(amount), (number[model],), float(tasks))
        for (cpu, memory, amount, model), tasks in fleet.live_tasks.items()
        if model in number
    ]


def _parts(gpu_milli: int) -> tuple[int, int]:
    """Whole devices, and thousandths of one."""
    return (0, gpu_milli) if gpu_milli < DEVICE_MILLI else (-(-gpu_milli // DEVICE_MILLI), 0)


def _coarse(demands: tuple[Demand, ...]) -> tuple[Demand, ...]:
    return tuple(demand._replace(count=4.0 ** round(log2(demand.count) / 2)) for demand in demands)


def _turned(tables: Tables, order: list[int]) -> Tables:
    """Models in another order: the n-th of what was learnt is number order[n]."""
    back = np.argsort(np.array(order, np.int64)) if order else np.zeros(0, np.int64)
    if not len(back):
        return tables
    return tables._replace(
        cpu_levels=np.ascontiguousarray(tables.cpu_levels[back]),
        memory_levels=np.ascontiguousarray(tables.memory_levels[back]),
        usable=np.ascontiguousarray(tables.usable[back]),
    )
