"""Nodes with what is free on them, and for each class of task how good each node is, kept current with little work.

Guarantees: `best` is the node with the smallest key, of equals the first row, exactly as if every node were scored anew; a task is never
put where it does not fit, and is refused only when it fits nowhere. Rows of the arrays are nodes in the order in which ties fall.

A change of a node is noted in a log. A class reads the log from where it last stood when it is next asked for, scores the nodes that
changed since, and keeps the least key of each block of rows; so a decision costs the changes, the blocks and one block.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bushel.scheduling.kernels.mode import inner_kernel, lean_kernel
from bushel.scheduling.packing.tables import DEVICE_MILLI, Tables
from bushel.scheduling.packing.value import POINTS, choose_device, left_over, node_key, node_value

NOWHERE = 1 << 30
"""The key of a node on which the class does not fit."""

BLOCK = 128

# columns of `State.nodes`
CPU, MEMORY, IDLE, LARGEST, COUNT, MODEL, KEPT, TASKS, _WIDTH = 0, 1, 2, 3, 4, 5, 6, 7, 8

# columns of `Rows.classes`
CLASS_CPU, CLASS_MEMORY, CLASS_WHOLE, CLASS_SHARE, CLASS_MODELS = 0, 1, 2, 3, 4

# places in `Rows.log_state`
_HEAD, _LARGEST_CPU, _LARGEST_MEMORY = 0, 1, 2

Array = Any


class State(NamedTuple):
    nodes: Array  # int64, node × (free CPU, free memory, idle devices, most free on a device, devices, model, least
    # devices of what may start, tasks)
    devices: Array  # int16, node × device: free thousandths
    value: Array  # float64, of each node


class Rows(NamedTuple):
    """`allowed` has a row for each class if any class is restricted to some nodes, else none; models are a bit mask, 0 for any."""

    classes: Array  # int64, class × (CPU, memory, whole devices, share, models)
    allowed: Array  # uint8, class × node, or 0 × 0
    keys: Array  # int32, class × node
    least: Array  # int32, class × block: the smallest key in it
    position: Array  # int64, for each class where in the log it stands; -1: scores all
    log: Array  # int64: rows that changed, in order
    last: Array  # int64, for each node its last place in the log
    moved: Array  # int64, scratch: where places of the log go when it is made shorter
    log_state: Array  # int64: length of the log, largest CPU and memory of a node without devices


def make_state(cpu: Array, memory: Array, devices: Array, counts: Array, models: Array) -> State:
    """Of nodes in the order in which ties fall; `devices` are free thousandths, `counts` how many of them exist."""
    nodes = np.zeros((len(cpu), _WIDTH), np.int64)
    exists = np.arange(devices.shape[1])[None, :] < np.asarray(counts)[:, None]
    free = np.where(exists, devices, 0).astype(np.int16)
    nodes[:, CPU], nodes[:, MEMORY], nodes[:, COUNT], nodes[:, MODEL] = cpu, memory, counts, models
    nodes[:, IDLE] = (free == DEVICE_MILLI).sum(axis=1)
    nodes[:, LARGEST] = free.max(axis=1, initial=0)
    return State(nodes, free, np.zeros(len(cpu)))


def make_rows(classes: Array, state: State, allowed: Array | None = None) -> Rows:
    size = len(state.nodes)
    blocks = -(-size // BLOCK)
    count = len(classes)
    bare = state.nodes[state.nodes[:, COUNT] == 0]
    log_state = np.array([0, bare[:, CPU].max(initial=0), bare[:, MEMORY].max(initial=0)], np.int64)
    return Rows(
        np.ascontiguousarray(classes, np.int64),
        np.zeros((0, 0), np.uint8) if allowed is None else np.ascontiguousarray(allowed, np.uint8),
        np.full((count, blocks * BLOCK), NOWHERE, np.int32),
        np.full((count, blocks), NOWHERE, np.int32),
        np.full(count, -1, np.int64),
        np.zeros(max(4 * size, 1024), np.int64),
        np.full(size, -1, np.int64),
        np.zeros(max(4 * size, 1024) + 1, np.int64),
        log_state,
    )


@lean_kernel
def revalue(tables: Tables, state: State, rows: Rows) -> None:
    """Value every node by other tables; every class will score all nodes when it is next asked for."""
    for row in range(state.nodes.shape[0]):
        node = state.nodes[row]
        state.value[row] = node_value(tables, node[CPU], node[MEMORY], state.devices[row], node[COUNT], node[MODEL])
    for number in range(rows.position.shape[0]):
        rows.position[number] = -1


@lean_kernel
def forget(rows: Rows, number: int) -> None:
    """The nodes allowed to a class changed: it scores all nodes when it is next asked for."""
    rows.position[number] = -1


@inner_kernel
def fits(nodes: Array, classes: Array, allowed: Array, number: int, row: int) -> bool:
    """Whether a task of the class fits on the node as it is."""
    if nodes[row, CPU] < classes[number, CLASS_CPU] or nodes[row, MEMORY] < classes[number, CLASS_MEMORY]:
        return False
    if nodes[row, IDLE] < classes[number, CLASS_WHOLE] or nodes[row, LARGEST] < classes[number, CLASS_SHARE]:
        return False
    if classes[number, CLASS_WHOLE] < nodes[row, KEPT]:
        return False
    models = classes[number, CLASS_MODELS]
    if models != 0 and (models >> nodes[row, MODEL]) & 1 == 0:
        return False
    return allowed.shape[1] == 0 or allowed[number, row] != 0


@inner_kernel
def key_of(tables: Tables, state: State, rows: Rows, number: int, row: int) -> int:
    """How bad the node is for the class; `NOWHERE` when it does not fit."""
    nodes, classes, log_state = state.nodes, rows.classes, rows.log_state
    if not fits(nodes, classes, rows.allowed, number, row):
        return NOWHERE
    cpu, memory = classes[number, CLASS_CPU], classes[number, CLASS_MEMORY]
    cpu_free, memory_free, count = nodes[row, CPU], nodes[row, MEMORY], nodes[row, COUNT]
    if count == 0:
        return left_over(cpu_free - cpu, memory_free - memory, log_state[_LARGEST_CPU], log_state[_LARGEST_MEMORY])
    return node_key(
        tables,
        cpu,
        memory,
        classes[number, CLASS_WHOLE],
        classes[number, CLASS_SHARE],
        cpu_free,
        memory_free,
        state.devices[row],
        count,
        nodes[row, MODEL],
        state.value[row],
        row * POINTS // nodes.shape[0],
        0,
    )


@lean_kernel
def best(tables: Tables, state: State, rows: Rows, number: int) -> int:
    """The node that a task of the class takes, -1 when it fits on none."""
    _bring_up_to_date(tables, state, rows, number)
    least = rows.least[number]
    chosen = 0
    for block in range(1, least.shape[0]):
        if least[block] < least[chosen]:
            chosen = block
    if least.shape[0] == 0 or least[chosen] >= NOWHERE:
        return -1
    keys = rows.keys[number]
    row = chosen * BLOCK
    while keys[row] != least[chosen]:
        row += 1
    return row


@lean_kernel
def _bring_up_to_date(tables: Tables, state: State, rows: Rows, number: int) -> None:
    keys = rows.keys[number]
    least = rows.least[number]
    head = rows.log_state[_HEAD]
    if rows.position[number] < 0:
        for row in range(state.nodes.shape[0]):
            keys[row] = key_of(tables, state, rows, number, row)
        for block in range(least.shape[0]):
            least[block] = _least_of(keys, block)
    else:
        for place in range(rows.position[number], head):
            row = rows.log[place]
            if rows.last[row] != place:
                continue  # it changed again later
            key = key_of(tables, state, rows, number, row)
            before = keys[row]
            keys[row] = key
            block = row // BLOCK
            if key <= least[block]:
                least[block] = key
            elif before == least[block]:
                least[block] = _least_of(keys, block)
    rows.position[number] = head


@inner_kernel
def _least_of(keys: Array, block: int) -> int:
    least = NOWHERE
    for row in range(block * BLOCK, (block + 1) * BLOCK):
        least = min(least, keys[row])
    return least


@lean_kernel
def occupy(tables: Tables, state: State, rows: Rows, number: int, row: int) -> int:
    """Take what a task of the class needs of the node, on which it fits. Returns its devices, a bit each."""
    wanted = rows.classes[number]
    node = state.nodes[row]
    devices = state.devices[row]
    taken = 0
    if wanted[CLASS_SHARE] > 0:
        cpu, memory, share = wanted[CLASS_CPU], wanted[CLASS_MEMORY], wanted[CLASS_SHARE]
        device = choose_device(tables, cpu, memory, share, node[CPU], node[MEMORY], devices, node[COUNT], node[MODEL])
        devices[device] -= wanted[CLASS_SHARE]
        taken = 1 << device
    else:
        missing = wanted[CLASS_WHOLE]
        for device in range(node[COUNT]):
            if missing > 0 and devices[device] == DEVICE_MILLI:
                devices[device] = 0
                missing -= 1
                taken |= 1 << device
    node[CPU] -= wanted[CLASS_CPU]
    node[MEMORY] -= wanted[CLASS_MEMORY]
    node[TASKS] += 1
    touch(tables, state, rows, row)
    return taken


@lean_kernel
def vacate(tables: Tables, state: State, rows: Rows, number: int, row: int, taken: int) -> None:
    """Give back what a task of the class held; `taken` is what `occupy` returned."""
    wanted = rows.classes[number]
    node = state.nodes[row]
    part = wanted[CLASS_SHARE] if wanted[CLASS_SHARE] > 0 else DEVICE_MILLI
    for device in range(node[COUNT]):
        if (taken >> device) & 1:
            state.devices[row, device] += part
    node[CPU] += wanted[CLASS_CPU]
    node[MEMORY] += wanted[CLASS_MEMORY]
    node[TASKS] -= 1
    touch(tables, state, rows, row)


@lean_kernel
def touch(tables: Tables, state: State, rows: Rows, row: int) -> None:
    """The node changed: value it, and let the classes know."""
    node = state.nodes[row]
    idle = 0
    largest = 0
    for device in range(node[COUNT]):
        free = int(state.devices[row, device])
        largest = max(largest, free)
        if free == DEVICE_MILLI:
            idle += 1
    node[IDLE] = idle
    node[LARGEST] = largest
    state.value[row] = node_value(tables, node[CPU], node[MEMORY], state.devices[row], node[COUNT], node[MODEL])
    note(rows, row)


@lean_kernel
def note(rows: Rows, row: int) -> None:
    """The classes will score the node anew."""
    if rows.log_state[_HEAD] == rows.log.shape[0]:
        _compact(rows)
    rows.log[rows.log_state[_HEAD]] = row
    rows.last[row] = rows.log_state[_HEAD]
    rows.log_state[_HEAD] += 1


@lean_kernel
def _compact(rows: Rows) -> None:
    """Keep the last change of each node, in order. A class that stood between stands before what is left after it."""
    kept = 0
    for place in range(rows.log.shape[0]):
        rows.moved[place] = kept
        row = rows.log[place]
        if rows.last[row] == place:
            rows.log[kept] = row
            rows.last[row] = kept
            kept += 1
    rows.moved[rows.log.shape[0]] = kept
    for number in range(rows.position.shape[0]):
        if rows.position[number] >= 0:
            rows.position[number] = rows.moved[rows.position[number]]
    rows.log_state[_HEAD] = kept
