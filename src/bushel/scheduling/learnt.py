"""What packing learns for a plan: from all that waits and all that is live, by class.

Guarantees: a function of the snapshot's contents alone. Counts are rounded to powers of four, each by itself, so what is learnt stays
the same object while the demand stays about the same: a class that grows moves no other.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from bushel.scheduling.entities import ShapeClass
from bushel.scheduling.fleet import DEVICE_MILLI, Fleet, Integers
from bushel.scheduling.lines import Lines
from bushel.scheduling.packing.learning import Demand, learn
from bushel.scheduling.packing.tables import Tables

_BETWEEN_POWERS = np.array([2 * 4**power for power in range(31)], np.int64)
_REMEMBERED = 8


class Learnt:
    """Remembers the last answers, and which demands the classes of the lines are."""

    def __init__(self) -> None:
        self._frame: tuple[object, ...] = ()
        self._known: OrderedDict[bytes, Tables] = OrderedDict()

    def tables(self, fleet: Fleet, lines: Lines) -> Tables:
        """With models numbered as the fleet numbers them."""
        names = fleet.gpu_models()
        order = tuple(fleet.model_of[fleet.column_of[f"gpu/{name}"]] for name in names)
        frame = lines.shapes, tuple(names), order, fleet.devices_used.shape[2]
        if len(frame) != len(self._frame) or frame[0] is not self._frame[0] or frame[1:] != self._frame[1:]:
            self._frame, self._model_numbers = frame, {name: place for place, name in enumerate(names)}
            self._demands: list[Demand] = []
            self._number: dict[Demand, int] = {}
            self._of_live: dict[tuple[int, int, int, str], int] = {}
            self._classes: list[int] = []  # demand, class and tasks of each group with accelerators, side by side
            self._of_class: list[int] = []
            self._tasks: list[int] = []
            self._seen = 0
            self._known.clear()
        steps = _steps(self._counts(fleet, lines))
        name = np.trim_zeros(steps, "b").tobytes()
        tables = self._known.get(name)
        if tables is None:
            demands = [self._demands[number]._replace(count=4.0 ** (int(steps[number]) - 1)) for number in np.flatnonzero(steps).tolist()]
            tables = self._known[name] = _turned(learn(demands, len(names), fleet.devices_used.shape[2]).steady, list(order))
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        self._known.move_to_end(name)
        return tables

    def _counts(self, fleet: Fleet, lines: Lines) -> Integers:
        """Tasks of each demand, waiting and live."""
        for klass in range(self._seen, len(lines.shapes)):
            self._add_class(klass, lines.shapes.shapes[klass])
        self._seen = len(lines.shapes)
        there = {kind: tasks for kind, tasks in fleet.live_tasks.items() if kind[3] in self._model_numbers}
        live = [self._live_number(kind) for kind in there]
        counts = np.zeros(len(self._demands), np.int64)
        waiting = np.zeros(self._seen, np.int64)
        by_class = lines.filled().by_class
        waiting[: len(by_class)] = by_class
        np.add.at(counts, self._classes, waiting[self._of_class] * np.array(self._tasks, np.int64))
        np.add.at(counts, live, list(there.values()))
        return counts

    def _add_class(self, klass: int, shape: ShapeClass) -> None:
        for group in shape.groups:
            request = group.request
            models = tuple(sorted({self._model_numbers[model] for model in request.gpu_models if model in self._model_numbers}))
            if request.gpu_milli and group.count and (models or not request.gpu_models):
                amounts = request.cpu_milli, request.memory_bytes, *_parts(request.gpu_milli)
                self._classes.append(self._demand(Demand(*amounts, models)))
                self._of_class.append(klass)
                self._tasks.append(group.count)

    def _live_number(self, kind: tuple[int, int, int, str]) -> int:
        number = self._of_live.get(kind)
        if number is None:
            cpu, memory, amount, model = kind
            number = self._of_live[kind] = self._demand(Demand(cpu, memory, *_parts(amount), (self._model_numbers[model],)))
        return number

    def _demand(self, demand: Demand) -> int:
        number = self._number.setdefault(demand, len(self._demands))
        if number == len(self._demands):
            self._demands.append(demand)
        return number


def _steps(counts: Integers) -> Integers:
    """One more than the power of four that each count is nearest to, 0 for none."""
    return np.where(counts > 0, 1 + np.searchsorted(_BETWEEN_POWERS, counts, side="right"), 0)


def _parts(gpu_milli: int) -> tuple[int, int]:
    """Whole devices, and thousandths of one."""
    return (0, gpu_milli) if gpu_milli < DEVICE_MILLI else (-(-gpu_milli // DEVICE_MILLI), 0)


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
