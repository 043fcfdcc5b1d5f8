"""For each way to meet a request a row of keys, one for each node; the smallest key is the node to take.

Guarantees: a row is brought up to date from the change log, so its cost follows what changed since it was last asked; the
minimum of each block of nodes is kept, so finding the smallest costs a look at the blocks. When packing has learnt something else,
only what a task costs where it fits is computed again. Of equal keys the node with the
smallest tie number is taken, whatever the order of the rows.
"""

from __future__ import annotations

from bushel.scheduling.kernels.mode import inner_kernel, lean_kernel
from bushel.scheduling.kernels.tables import (
    BLOCK,
    CLOCK,
    LAST_CHOICE,
    LEARNT,
    LOG_LENGTH,
    NEVER,
    WHOLE_DEVICE,
    Array,
    Log,
    Nodes,
    Rows,
    Ways,
)
from bushel.scheduling.packing.value import choose_device, left_over, node_key, node_value


@inner_kernel
def key_of(nodes: Nodes, ways: Ways, rows: Rows, way: int, row: int) -> int:
    """What it costs to put one task there; smaller is better."""
    model = int(ways.model[way])
    count = 0
    if model >= 0:  # first of all: most nodes are of another model
        count = int(nodes.counts[model, row])
        if count == 0:
            return NEVER
    permission = rows.masks[ways.mask[way], row]
    if permission == 0 or nodes.closed[row]:
        return NEVER
    for place in range(ways.columns.shape[1]):
        column = ways.columns[way, place]
        if column < 0:
            break
        if nodes.free[column, row] < ways.amounts[way, place]:
            return NEVER
    if model >= 0:
        least, missing = ways.share[way], 1
        if least == 0:
            least, missing = WHOLE_DEVICE, ways.devices[way]
        for device in range(count):
            if nodes.devices[model, row, device] >= least:
                missing -= 1
                if missing == 0:
                    break
        if missing > 0:
            return NEVER
    key = node_cost(nodes, ways, way, row)
    return key + LAST_CHOICE if permission == 2 else key


@inner_kernel
def node_cost(nodes: Nodes, ways: Ways, way: int, row: int) -> int:
    """By packing, for a node on which the task fits."""
    cpu, memory = ways.cpu[way], ways.memory[way]
    cpu_free, memory_free = nodes.free[nodes.cpu, row], nodes.free[nodes.memory, row]
    model = int(ways.model[way])
    if model < 0:
        model = int(nodes.model[row])
    if model < 0:
        return left_over(cpu_free - cpu, memory_free - memory, nodes.largest_cpu, nodes.largest_memory)
    count, devices = int(nodes.counts[model, row]), nodes.devices[model, row]
    before = nodes.value[row]
    if model != nodes.model[row]:
        before = node_value(nodes.packing, cpu_free, memory_free, devices, count, model)
    share, whole = ways.share[way], ways.devices[way]
    points = nodes.points[row]
    return node_key(nodes.packing, cpu, memory, whole, share, cpu_free, memory_free, devices, count, model, before, points, 0)


@inner_kernel
def best_of(nodes: Nodes, ways: Ways, rows: Rows, log: Log, state: Array, way: int) -> int:
    """The node that the next task takes this way; -1 for none."""
    slot = catch_up(nodes, ways, rows, log, state, way)
    best, key = -1, NEVER
    for block in range(rows.best_key.shape[1]):
        other = rows.best_key[slot, block]
        if other < key:
            best, key = rows.best_row[slot, block], other
        elif other == key and other < NEVER and nodes.tie[rows.best_row[slot, block]] < nodes.tie[best]:
            best = rows.best_row[slot, block]
    return best


@inner_kernel
def catch_up(nodes: Nodes, ways: Ways, rows: Rows, log: Log, state: Array, way: int) -> int:
    """Bring the way's row up to date. Its slot."""
    slot = int(rows.slot[way])
    if slot < 0:
        slot = take_slot(rows, way)
        for row in range(rows.keys.shape[1]):
            rows.keys[slot, row] = key_of(nodes, ways, rows, way, row)
        for block in range(rows.best_key.shape[1]):
            find_best(nodes, rows, slot, block)
    else:
        if rows.learnt[slot] != state[LEARNT]:
            price_again(nodes, ways, rows, way, slot)
        for at in range(rows.seen[slot], state[LOG_LENGTH]):
            row = log.rows[at]
            if log.last[row] == at:
                set_key(nodes, rows, slot, row, key_of(nodes, ways, rows, way, row))
    rows.seen[slot] = state[LOG_LENGTH]
    rows.learnt[slot] = state[LEARNT]
    rows.used[slot] = state[CLOCK]
    state[CLOCK] += 1
    return slot


@inner_kernel
def price_again(nodes: Nodes, ways: Ways, rows: Rows, way: int, slot: int) -> None:
    """Packing has learnt something else: what a task costs where it fits. Where it does not fit, it still does not."""
    for block in range(rows.best_key.shape[1]):
        if rows.best_key[slot, block] == NEVER:
            continue
        for row in range(block * BLOCK, min((block + 1) * BLOCK, rows.keys.shape[1])):
            if rows.keys[slot, row] != NEVER:
                rows.keys[slot, row] = key_of(nodes, ways, rows, way, row)
        find_best(nodes, rows, slot, block)


@inner_kernel
def take_slot(rows: Rows, way: int) -> int:
    """A free slot, or that of the way that was not asked for longest."""
    slot = 0
    for other in range(rows.way.shape[0]):
        if rows.way[other] < 0:
            slot = other
            break
        if rows.used[other] < rows.used[slot]:
            slot = other
    if rows.way[slot] >= 0:
        rows.slot[rows.way[slot]] = -1
    rows.way[slot] = way
    rows.slot[way] = slot
    return slot


@inner_kernel
def set_key(nodes: Nodes, rows: Rows, slot: int, row: int, key: int) -> None:
    before = rows.keys[slot, row]
    if key == before:
        return
    rows.keys[slot, row] = key
    block = row // BLOCK
    best = rows.best_row[slot, block]
    if row == best:
        if key < before:
            rows.best_key[slot, block] = key
        else:
            find_best(nodes, rows, slot, block)
    elif key < rows.best_key[slot, block] or (key < NEVER and key == rows.best_key[slot, block] and nodes.tie[row] < nodes.tie[best]):
        rows.best_key[slot, block] = key
        rows.best_row[slot, block] = row


@inner_kernel
def find_best(nodes: Nodes, rows: Rows, slot: int, block: int) -> None:
    best, key = -1, NEVER
    for row in range(block * BLOCK, min((block + 1) * BLOCK, rows.keys.shape[1])):
        other = rows.keys[slot, row]
        if other < key:
            best, key = row, other
        elif other == key and other < NEVER and nodes.tie[row] < nodes.tie[best]:
            best = row
    rows.best_key[slot, block] = key
    rows.best_row[slot, block] = best


@inner_kernel
def take(nodes: Nodes, ways: Ways, log: Log, state: Array, way: int, row: int) -> int:
    """One task takes what it needs of a node on which it fits. Its devices, a bit for each."""
    for place in range(ways.columns.shape[1]):
        column = ways.columns[way, place]
        if column < 0:
            break
        nodes.free[column, row] -= ways.amounts[way, place]
    chosen = 0
    model = int(ways.model[way])
    if model >= 0:
        share = ways.share[way]
        if share > 0:
            device = choose_device(
                nodes.packing,
                ways.cpu[way],
                ways.memory[way],
                share,
                nodes.free[nodes.cpu, row] + ways.cpu[way],  # as it was before
                nodes.free[nodes.memory, row] + ways.memory[way],
                nodes.devices[model, row],
                int(nodes.counts[model, row]),
                model,
            )
            nodes.devices[model, row, device] -= share
            chosen = 1 << device
        else:
            missing = ways.devices[way]
            for device in range(nodes.devices.shape[2]):
                if missing > 0 and nodes.devices[model, row, device] == WHOLE_DEVICE:
                    nodes.devices[model, row, device] = 0
                    chosen |= 1 << device
                    missing -= 1
        nodes.free[ways.device_column[way], row] -= ways.taken[way]
    changed(nodes, log, state, row)
    return chosen


@inner_kernel
def changed(nodes: Nodes, log: Log, state: Array, row: int) -> None:
    """The state of a node is another now."""
    measure(nodes, row)
    log.rows[state[LOG_LENGTH]] = row
    log.last[row] = state[LOG_LENGTH]
    state[LOG_LENGTH] += 1


@inner_kernel
def measure(nodes: Nodes, row: int) -> None:
    """Its score and its value, from what it has free."""
    score = 0
    for column in range(nodes.free.shape[0]):
        score += int(nodes.free[column, row] * nodes.scale[column])
    nodes.score[row] = score
    model = int(nodes.model[row])
    if model >= 0:
        cpu_free, memory_free = nodes.free[nodes.cpu, row], nodes.free[nodes.memory, row]
        count = int(nodes.counts[model, row])
        nodes.value[row] = node_value(nodes.packing, cpu_free, memory_free, nodes.devices[model, row], count, model)


@lean_kernel
def measure_all(nodes: Nodes, rows: Array) -> None:
    for place in range(rows.shape[0]):
        measure(nodes, rows[place])
