"""For each way to meet a request a row of keys, one for each node; the smallest key is the node to take.

Guarantees: a row is brought up to date from the change log, so its cost follows what changed since it was last asked; the
minimum of each block of nodes is kept, so finding the smallest costs a look at the blocks. A way looks only at groups of nodes that have
what it needs, and work without accelerators at nodes that have some only where no other will do. When packing has learnt something
else, only what a task costs where it fits is computed again. Of equal keys the node with the
smallest tie number is taken, whatever the order of the rows.
"""

from __future__ import annotations

from bushel.scheduling.kernels.mode import inner_kernel, lean_kernel
from bushel.scheduling.kernels.tables import (
    BLOCK,
    CLOCK,
    FORGOTTEN,
    LAST_CHOICE,
    LEARNT,
    MODELS_TOLD_APART,
    NEVER,
    WHOLE_DEVICE,
    Array,
    Log,
    Nodes,
    Rows,
    Ways,
)
from bushel.scheduling.packing.value import POINTS, choose_device, left_over, node_key, node_value


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
    slot = slot_of(rows, state, way)
    model = int(ways.model[way])
    best, key = -1, NEVER
    for group in range(rows.models.shape[0]):
        if model >= 0:
            if not has_model(rows, group, model):
                continue
        elif group > 0 and key < POINTS:
            break  # work without accelerators costs more than this on every node that has some
        catch_up(nodes, ways, rows, log, state, way, slot, group)
        for block in range(rows.first_block[group], rows.first_block[group + 1]):
            other = rows.best_key[slot, block]
            if other < key:
                best, key = rows.best_row[slot, block], other
            elif other == key and other < NEVER and nodes.tie[rows.best_row[slot, block]] < nodes.tie[best]:
                best = rows.best_row[slot, block]
    return best


@inner_kernel
def has_model(rows: Rows, group: int, model: int) -> bool:
    """Whether nodes of the group may have accelerators of the model."""
    return (rows.models[group] >> min(model, MODELS_TOLD_APART)) & 1 != 0


@inner_kernel
def slot_of(rows: Rows, state: Array, way: int) -> int:
    """Where the keys of the way are kept."""
    slot = int(rows.slot[way])
    if slot < 0:
        slot = take_slot(rows, way)
    rows.used[slot] = state[CLOCK]
    state[CLOCK] += 1
    return slot


@inner_kernel
def catch_up(nodes: Nodes, ways: Ways, rows: Rows, log: Log, state: Array, way: int, slot: int, group: int) -> None:
    """Bring the way's keys of a group up to date."""
    if rows.seen[slot, group] < 0:
        for block in range(rows.first_block[group], rows.first_block[group + 1]):
            for place in range(block * BLOCK, (block + 1) * BLOCK):
                rows.keys[slot, place] = key_at(nodes, ways, rows, way, place)
            find_best(nodes, rows, slot, block)
    else:
        if rows.learnt[slot, group] != state[LEARNT] and group > 0:
            price_again(nodes, ways, rows, way, slot, group)
        for entry in range(rows.seen[slot, group], log.length[group]):
            place = log.places[group, entry]
            if log.last[place] == entry:
                set_key(nodes, rows, slot, place, key_at(nodes, ways, rows, way, place))
    rows.seen[slot, group] = log.length[group]
    rows.learnt[slot, group] = state[LEARNT]


@inner_kernel
def key_at(nodes: Nodes, ways: Ways, rows: Rows, way: int, place: int) -> int:
    row = rows.row_at[place]
    return key_of(nodes, ways, rows, way, row) if row >= 0 else NEVER


@inner_kernel
def price_again(nodes: Nodes, ways: Ways, rows: Rows, way: int, slot: int, group: int) -> None:
    """Packing has learnt something else: what a task costs where it fits. Where it does not fit, it still does not."""
    for block in range(rows.first_block[group], rows.first_block[group + 1]):
        if rows.best_key[slot, block] == NEVER:
            continue
        for place in range(block * BLOCK, (block + 1) * BLOCK):
            if rows.keys[slot, place] != NEVER:
                rows.keys[slot, place] = key_at(nodes, ways, rows, way, place)
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
    for group in range(rows.seen.shape[1]):
        rows.seen[slot, group] = -1
    return slot


@inner_kernel
def set_key(nodes: Nodes, rows: Rows, slot: int, place: int, key: int) -> None:
    before = rows.keys[slot, place]
    if key == before:
        return
    rows.keys[slot, place] = key
    block = place // BLOCK
    best = rows.best_row[slot, block]
    row = rows.row_at[place]
    if before == FORGOTTEN or (before == rows.best_key[slot, block] and key > before):
        find_best(nodes, rows, slot, block)
    elif key < rows.best_key[slot, block] or (key < NEVER and key == rows.best_key[slot, block] and nodes.tie[row] < nodes.tie[best]):
        rows.best_key[slot, block] = key
        rows.best_row[slot, block] = row


@inner_kernel
def find_best(nodes: Nodes, rows: Rows, slot: int, block: int) -> None:
    best, key = -1, NEVER
    for place in range(block * BLOCK, (block + 1) * BLOCK):
        other = rows.keys[slot, place]
        if other < key:
            best, key = rows.row_at[place], other
        elif other == key and other < NEVER and nodes.tie[rows.row_at[place]] < nodes.tie[best]:
            best = rows.row_at[place]
    rows.best_key[slot, block] = key
    rows.best_row[slot, block] = best


@inner_kernel
def take(nodes: Nodes, ways: Ways, log: Log, way: int, row: int) -> int:
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
    changed(nodes, log, row)
    return chosen


@inner_kernel
def changed(nodes: Nodes, log: Log, row: int) -> None:
    """The state of a node is another now."""
    measure(nodes, row)
    place, group = nodes.place[row], nodes.group[row]
    if place >= 0:
        entry = log.length[group]
        log.places[group, entry] = place
        log.last[place] = entry
        log.length[group] = entry + 1


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


@lean_kernel
def capacity_of(capacity: Array, used: Array, usable: Array, total: Array) -> None:
    """Of each resource: what the usable nodes have, and what is held on others."""
    for column in range(capacity.shape[0]):
        found = 0
        for row in range(capacity.shape[1]):
            amount = used[column, row]
            if usable[row] and capacity[column, row] > amount:
                amount = capacity[column, row]
            found += amount
        total[column] = found
