"""Nodes that empty for a large task which fits nowhere: without them small tasks, which come first wherever a little is free, would
keep it waiting for ever.

Guarantees: one node at a time is kept for one class, and it goes back to all as soon as a task of the class has started anywhere.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bushel.scheduling.kernels.mode import lean_kernel
from bushel.scheduling.packing.rows import (
    CLASS_CPU,
    CLASS_MEMORY,
    CLASS_MODELS,
    CLASS_WHOLE,
    COUNT,
    CPU,
    KEPT,
    MEMORY,
    MODEL,
    Rows,
    State,
    note,
)

Array = Any


class Drains(NamedTuple):
    capacity: Array  # node × (CPU, memory)
    kept: Array  # row, class of each slot; -1 for none
    options: Array  # least devices, most slots


def make_drains(state: State) -> Drains:
    """Of a fleet on which nothing runs yet."""
    return Drains(state.nodes[:, [CPU, MEMORY]].copy(), np.full((64, 2), -1, np.int64), np.array([8, 1, 1], np.int64))


@lean_kernel
def drain_for(state: State, rows: Rows, drains: Drains, number: int) -> None:
    wanted = rows.classes[number]
    if wanted[CLASS_WHOLE] < drains.options[0]:
        return
    slot = -1
    own = 0
    for candidate in range(drains.options[1] - 1, -1, -1):
        if drains.kept[candidate, 0] < 0:
            slot = candidate
        elif drains.kept[candidate, 1] == number:
            own += 1
    if slot < 0 or own >= drains.options[2]:
        return
    chosen = -1
    most = -1
    for row in range(state.nodes.shape[0]):
        node = state.nodes[row]
        if node[KEPT] != 0 or node[COUNT] < wanted[CLASS_WHOLE]:
            continue
        if drains.capacity[row, 0] < wanted[CLASS_CPU] or drains.capacity[row, 1] < wanted[CLASS_MEMORY]:
            continue
        if wanted[CLASS_MODELS] != 0 and (wanted[CLASS_MODELS] >> node[MODEL]) & 1 == 0:
            continue
        free = 0
        for device in range(node[COUNT]):
            free += int(state.devices[row, device])
        if free > most:
            most = free
            chosen = row
    if chosen >= 0:
        drains.kept[slot, 0] = chosen
        drains.kept[slot, 1] = number
        keep(state, rows, chosen, number + 1)


@lean_kernel
def keep(state: State, rows: Rows, row: int, kept_for: int) -> None:
    """Keep a node for a class (+ 1), or give it back to all (0)."""
    state.nodes[row, KEPT] = kept_for
    note(rows, row)


@lean_kernel
def started_one(state: State, rows: Rows, drains: Drains, number: int, row: int, more: bool) -> None:
    """A task of the class has started on `row`. What was kept for it goes back when it was used, or when no other waits."""
    if rows.classes[number, CLASS_WHOLE] < drains.options[0]:
        return
    for slot in range(drains.options[1]):
        if drains.kept[slot, 1] == number and (drains.kept[slot, 0] == row or not more):
            kept = drains.kept[slot, 0]
            drains.kept[slot, 0] = -1
            drains.kept[slot, 1] = -1
            keep(state, rows, kept, 0)
            break
    if more:
        drain_for(state, rows, drains, number)
