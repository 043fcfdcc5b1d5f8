"""Nodes that empty for a large task which fits nowhere: without them small tasks, which come first wherever a little is free, would
keep it waiting for ever.

Guarantees: a node is kept for a class and for all that ask for no fewer devices. It goes back to all when it was used. Where none of
the class waits it is kept in expectation, because large tasks were turned away of late; then it turns away no more work than the
large task is worth, and gives way to the next that fits on it and nowhere else. At most one node in `NODES_A_DRAIN` is kept at a time,
and of those only one among the nodes of models of which more is turned away than a little: there the fleet is full, and a drained
node for one is work lost for others.

Large is a task of half the devices of the largest node or more. It gets, of the nodes that could hold it, the one with the most
free; where the fleet is full the one with the fewest tasks, on which least stays idle until it is empty. Of equals the first. A node
that comes idle takes the place of the kept one with the least free.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bushel.scheduling.kernels.mode import lean_kernel
from bushel.scheduling.packing.rows import (
    CLASS_CPU,
    CLASS_MEMORY,
    CLASS_MODELS,
    CLASS_SHARE,
    CLASS_WHOLE,
    COUNT,
    CPU,
    IDLE,
    KEPT,
    MEMORY,
    MODEL,
    TASKS,
    Rows,
    State,
    fits,
    note,
)
from bushel.scheduling.packing.tables import DEVICE_MILLI

NODES_A_DRAIN = 40

FULL_ABOVE = (0.02, 0.1)
"""Of the devices asked for of late, such as could be of a model, by small tasks and by all, so much was turned away: its nodes are full."""

_SMALL, _ALL, _LARGE = 0, 1, 2
EXPECTED_ABOVE = 0.01
"""Of the devices asked for of late by large tasks so much was turned away: more large tasks that fit nowhere are expected."""

_MEMORY = (0.002, 0.002, 0.02)  # how much of what is remembered each arrival of its kind replaces

Array = Any


class Drains(NamedTuple):
    capacity: Array  # node × (CPU, memory), when empty
    kept: Array  # slot × (row, class, thousandths of devices that found no room for its sake), row -1 for none
    waiting: Array  # class → how many wait
    asked: Array  # model × (small tasks, all, large ones) → thousandths of devices that could be of it, asked for of late
    turned_away: Array  # and of those turned away
    large: int  # devices from which on a task is large


def make_drains(state: State, rows: Rows) -> Drains:
    """Of a fleet on which nothing runs yet."""
    slots = max(1, len(state.nodes) // NODES_A_DRAIN)
    models = int(state.nodes[:, MODEL].max(initial=0)) + 1
    return Drains(
        state.nodes[:, [CPU, MEMORY]].copy(),
        np.full((slots, 3), -1, np.int64),
        np.zeros(len(rows.classes), np.int64),
        np.zeros((models, 3)),
        np.zeros((models, 3)),
        max(2, int(state.nodes[:, COUNT].max(initial=0)) // 2),
    )


@lean_kernel
def arrived(state: State, rows: Rows, drains: Drains, number: int, row: int, waits: bool) -> None:
    """A task of the class has come and started on `row`; -1: it was turned away, and waits or not."""
    wanted = rows.classes[number]
    volume = wanted[CLASS_WHOLE] * DEVICE_MILLI + wanted[CLASS_SHARE]
    large = wanted[CLASS_WHOLE] >= drains.large
    for model in range(drains.asked.shape[0]):
        if wanted[CLASS_MODELS] == 0 or (wanted[CLASS_MODELS] >> model) & 1:
            _remember(drains.asked, drains.turned_away, model, _ALL, volume, row < 0)
            _remember(drains.asked, drains.turned_away, model, _LARGE if large else _SMALL, volume, row < 0)
    if row >= 0:
        _used(state, rows, drains, number, row)
        return
    if waits:
        drains.waiting[number] += 1
    _give_back_where_full(state, rows, drains)
    if large:
        drain_for(state, rows, drains, number)


@lean_kernel
def give_way(state: State, rows: Rows, drains: Drains, number: int) -> bool:
    """A task of the class fits nowhere else than on a node kept for tasks still to come. Whether it gets the node."""
    for slot in range(drains.kept.shape[0]):
        row = drains.kept[slot, 0]
        if row < 0 or drains.waiting[drains.kept[slot, 1]] > 0:
            continue
        least_devices = state.nodes[row, KEPT]
        state.nodes[row, KEPT] = 0
        held = fits(state.nodes, rows.classes, rows.allowed, number, row)
        state.nodes[row, KEPT] = least_devices
        if held:
            drains.kept[slot, 2] += rows.classes[number, CLASS_WHOLE] * DEVICE_MILLI + rows.classes[number, CLASS_SHARE]
            if drains.kept[slot, 2] <= least_devices * DEVICE_MILLI:
                return False
            _give_back(state, rows, drains, slot)
            return True
    return False


@lean_kernel
def served(state: State, rows: Rows, drains: Drains, number: int, row: int) -> None:
    """A task of the class that waited has started on `row`."""
    drains.waiting[number] -= 1
    _used(state, rows, drains, number, row)


@lean_kernel
def _remember(asked: Array, turned_away: Array, model: int, kind: int, volume: int, was_turned_away: bool) -> None:
    asked[model, kind] += _MEMORY[kind] * (volume - asked[model, kind])
    turned_away[model, kind] += _MEMORY[kind] * ((volume if was_turned_away else 0) - turned_away[model, kind])


@lean_kernel
def _is_full(state: State, drains: Drains, row: int) -> bool:
    model = state.nodes[row, MODEL]
    small = drains.turned_away[model, _SMALL] > FULL_ABOVE[_SMALL] * drains.asked[model, _SMALL]
    return small or drains.turned_away[model, _ALL] > FULL_ABOVE[_ALL] * drains.asked[model, _ALL]


@lean_kernel
def _needed(state: State, drains: Drains, number: int, row: int) -> bool:
    """Whether a node such as `row` is worth keeping for the class: one waits, or large tasks are turned away."""
    model = state.nodes[row, MODEL]
    return drains.waiting[number] > 0 or drains.turned_away[model, _LARGE] > EXPECTED_ABOVE * drains.asked[model, _LARGE]


@lean_kernel
def emptied(state: State, rows: Rows, drains: Drains, row: int) -> None:
    """Something ended on a node. If it is idle now, it takes the place of the kept node that has the least free."""
    if state.nodes[row, KEPT] != 0 or state.nodes[row, COUNT] < drains.large or state.nodes[row, IDLE] < state.nodes[row, COUNT]:
        return
    chosen = -1
    least = 0
    for slot in range(drains.kept.shape[0]):
        kept = drains.kept[slot, 0]
        if kept >= 0 and state.nodes[kept, IDLE] < state.nodes[kept, COUNT] and could_hold(state, rows, drains, drains.kept[slot, 1], row):
            free = _free_devices(state, kept)
            if chosen < 0 or free < least:
                chosen = slot
                least = free
    if chosen >= 0:
        number = drains.kept[chosen, 1]
        _give_back(state, rows, drains, chosen)
        _keep(state, rows, drains, chosen, row, number)


@lean_kernel
def _kept_where_full(state: State, drains: Drains) -> int:
    count = 0
    for slot in range(drains.kept.shape[0]):
        if drains.kept[slot, 0] >= 0 and _is_full(state, drains, drains.kept[slot, 0]):
            count += 1
    return count


@lean_kernel
def _give_back_where_full(state: State, rows: Rows, drains: Drains) -> None:
    more = _kept_where_full(state, drains) - 1
    for slot in range(drains.kept.shape[0] - 1, -1, -1):
        if more > 0 and drains.kept[slot, 0] >= 0 and _is_full(state, drains, drains.kept[slot, 0]):
            _give_back(state, rows, drains, slot)
            more -= 1


@lean_kernel
def drain_for(state: State, rows: Rows, drains: Drains, number: int) -> None:
    """Keep one more node for the class, if the bound allows it and some node could hold a task of it."""
    slot = -1
    for candidate in range(drains.kept.shape[0] - 1, -1, -1):
        if drains.kept[candidate, 0] < 0:
            slot = candidate
    if slot < 0:
        return
    may_be_full = _kept_where_full(state, drains) == 0
    chosen = -1
    least = 0
    for row in range(state.nodes.shape[0]):
        if not could_hold(state, rows, drains, number, row):
            continue
        full = _is_full(state, drains, row)
        if full and not may_be_full:
            continue
        cost = state.nodes[row, TASKS] if full else -_free_devices(state, row)
        if chosen < 0 or cost < least:
            chosen = row
            least = cost
    if chosen >= 0:
        _keep(state, rows, drains, slot, chosen, number)


@lean_kernel
def _free_devices(state: State, row: int) -> int:
    free = 0
    for device in range(state.nodes[row, COUNT]):
        free += int(state.devices[row, device])
    return free


@lean_kernel
def could_hold(state: State, rows: Rows, drains: Drains, number: int, row: int) -> bool:
    """Whether the node, when it has emptied, holds a task of the class; not if it is kept already."""
    wanted = rows.classes[number]
    if state.nodes[row, KEPT] != 0 or state.nodes[row, COUNT] < wanted[CLASS_WHOLE]:
        return False
    if drains.capacity[row, 0] < wanted[CLASS_CPU] or drains.capacity[row, 1] < wanted[CLASS_MEMORY]:
        return False
    if wanted[CLASS_MODELS] != 0 and (wanted[CLASS_MODELS] >> state.nodes[row, MODEL]) & 1 == 0:
        return False
    return rows.allowed.shape[1] == 0 or rows.allowed[number, row] != 0


@lean_kernel
def _used(state: State, rows: Rows, drains: Drains, number: int, row: int) -> None:
    """A task of the class has started on `row`."""
    if rows.classes[number, CLASS_WHOLE] < drains.large:
        return
    needed = _needed(state, drains, number, row)
    for slot in range(drains.kept.shape[0]):
        if drains.kept[slot, 0] == row or (drains.kept[slot, 1] == number and not needed):
            _give_back(state, rows, drains, slot)
            break
    if needed:
        drain_for(state, rows, drains, number)


@lean_kernel
def _keep(state: State, rows: Rows, drains: Drains, slot: int, row: int, number: int) -> None:
    drains.kept[slot, 0] = row
    drains.kept[slot, 1] = number
    drains.kept[slot, 2] = 0
    state.nodes[row, KEPT] = rows.classes[number, CLASS_WHOLE]
    note(rows, row)


@lean_kernel
def _give_back(state: State, rows: Rows, drains: Drains, slot: int) -> None:
    row = drains.kept[slot, 0]
    drains.kept[slot, 0] = -1
    drains.kept[slot, 1] = -1
    state.nodes[row, KEPT] = 0
    note(rows, row)
