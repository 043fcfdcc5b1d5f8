"""What a node can still sell, and what a task on it costs of that: the rule of packing, in scalars.

Guarantees: pure functions of their arguments, without allocation; compiled and plain they give the same bits. A task costs what the
completion value of the node drops by. With free CPU a, free memory b, free thousandths g of each device, t = sum(g) / 1000:

    V = sum of hole(g)                           what the holes are worth as holes (cutting stock, Gilmore & Gomory 1961)
      + usable · U                               what the next task could use, over the classes of the demand (as in fragmentation
                                                 gradient descent, Weng et al., USENIX ATC 2023, with memory)
      - price · E[(CPU for t devices - a)+]      what lack of CPU will strand, and likewise of memory (newsvendor loss)

and V = 0 without a free device. Nodes that have no devices at all are taken by best fit. A smaller key is better; equal keys fall to
the first node in order.
"""

from __future__ import annotations

import math
from typing import Any

from bushel.scheduling.kernels.mode import kernel
from bushel.scheduling.packing.tables import DEVICE_MILLI, LOSS_REACH, LOSS_STEPS, Tables

KEY_LIMIT = 1 << 29
"""Keys lie between minus this and this."""

POINTS = 1 << 16
"""Parts of a quantum: order in the fleet and what is left over weigh in these."""

_QUANTA_LIMIT = (1 << 13) - 1

Array = Any  # a numpy array where it is called from Python, a compiled one within kernels


@kernel
def level(levels: Array, amount: int) -> int:
    """How many of the levels `amount` reaches."""
    reached = 0
    for number in range(levels.shape[0]):
        if levels[number] <= amount:
            reached += 1
    return reached


@kernel
def expected_shortage(loss: Array, mean: float, spread: float, amount: int) -> float:
    """E[(X - amount)+] for a normal X."""
    short = mean - amount
    if spread < 1e-9:
        return short if short > 0.0 else 0.0
    deviations = -short / spread
    if deviations >= LOSS_REACH:
        return 0.0
    if deviations <= -LOSS_REACH:
        return short
    position = (deviations + LOSS_REACH) * LOSS_STEPS
    point = int(position)
    return spread * (loss[point] + (position - point) * (loss[point + 1] - loss[point]))


@kernel
def stranded(tables: Tables, cpu_free: int, memory_free: int, free: int) -> float:
    """Thousandths of devices that will not be sold for lack of CPU or memory, of `free` that are free."""
    devices = free * 0.001
    root = math.sqrt(devices)
    lost = 0.0
    if tables.cpu_price > 0.0:
        lost += tables.cpu_price * expected_shortage(tables.loss, tables.cpu_mean * devices, tables.cpu_spread * root, cpu_free)
    if tables.memory_price > 0.0:
        lost += tables.memory_price * expected_shortage(tables.loss, tables.memory_mean * devices, tables.memory_spread * root, memory_free)
    return lost


@kernel
def slot_row(tables: Tables, cpu_free: int, memory_free: int, model: int) -> int:
    """Where the weights of what fits beside this much CPU and memory stand in `tables.usable[model]`."""
    return level(tables.cpu_levels[model], cpu_free) * tables.memory_stride + level(tables.memory_levels[model], memory_free)


@kernel
def node_value(tables: Tables, cpu_free: int, memory_free: int, devices: Array, count: int, model: int) -> float:
    """V of a node. `devices` are free thousandths, of which the first `count` exist."""
    free = 0
    for device in range(count):
        free += int(devices[device])
    if free == 0:
        return 0.0
    weights = tables.usable[model, slot_row(tables, cpu_free, memory_free, model)]
    idle = 0
    value = 0.0
    for device in range(count):
        hole = int(devices[device])
        if hole == DEVICE_MILLI:
            idle += 1
        value += tables.hole[hole] + hole * weights[tables.size_index[hole]]
    value += idle * weights[tables.several_at + idle]
    return value - stranded(tables, cpu_free, memory_free, free)


@kernel
def share_choice(tables: Tables, share: int, cpu_left: int, memory_left: int, devices: Array, count: int, model: int) -> tuple[float, int]:
    """V of a node after a share is taken of the device where that leaves most, and which device; of equals the first."""
    free = -share
    for device in range(count):
        free += int(devices[device])
    weights = tables.usable[model, slot_row(tables, cpu_left, memory_left, model)]
    idle = 0
    before = 0.0
    for device in range(count):
        hole = int(devices[device])
        if hole == DEVICE_MILLI:
            idle += 1
        before += tables.hole[hole] + hole * weights[tables.size_index[hole]]
    best = 0.0
    chosen = -1
    seen = -1
    for device in range(count):
        hole = int(devices[device])
        if hole < share or hole == seen:
            continue
        seen = hole
        left = hole - share
        idle_left = idle - 1 if hole == DEVICE_MILLI else idle
        gain = tables.hole[left] + left * weights[tables.size_index[left]] + idle_left * weights[tables.several_at + idle_left]
        gain -= tables.hole[hole] + hole * weights[tables.size_index[hole]]
        if chosen < 0 or gain > best:
            best = gain
            chosen = device
    if free == 0:
        return 0.0, chosen
    return before + best - stranded(tables, cpu_left, memory_left, free), chosen


@kernel
def whole_value(tables: Tables, whole: int, cpu_left: int, memory_left: int, devices: Array, count: int, model: int) -> float:
    """V of a node after `whole` idle devices are taken; with none, after CPU and memory alone are."""
    weights = tables.usable[model, slot_row(tables, cpu_left, memory_left, model)]
    free = 0
    idle = -whole
    value = 0.0
    wanted = whole
    for device in range(count):
        hole = int(devices[device])
        if hole == DEVICE_MILLI:
            idle += 1
            if wanted > 0:
                wanted -= 1
                continue
        free += hole
        value += tables.hole[hole] + hole * weights[tables.size_index[hole]]
    if free == 0:
        return 0.0
    value += idle * weights[tables.several_at + idle]
    return value - stranded(tables, cpu_left, memory_left, free)


@kernel
def node_key(
    tables: Tables,
    cpu: int,
    memory: int,
    whole: int,
    share: int,
    cpu_free: int,
    memory_free: int,
    devices: Array,
    count: int,
    model: int,
    before: float,
    rank_points: int,
    left_points: int,
) -> int:
    """How bad the node is for a task that fits on it, as a number between ± `KEY_LIMIT`.

    `whole` devices or a `share` of one; `before` is the node's value as it is. `rank_points`: its place in the order of nodes, in
    `POINTS`. `left_points`: of `left_over`, for nodes without devices.
    """
    if count == 0:
        return left_points
    extra = 0
    if share > 0:
        after, _ = share_choice(tables, share, cpu_free - cpu, memory_free - memory, devices, count, model)
    else:
        after = whole_value(tables, whole, cpu_free - cpu, memory_free - memory, devices, count, model)
        if whole == 0:
            extra = 1  # work without devices keeps off the nodes that have some
    quanta = min(max(math.floor((before - after) / tables.quantum + 0.5), -_QUANTA_LIMIT), _QUANTA_LIMIT - 1024) + extra
    return int(quanta) * POINTS + int(tables.slope * rank_points)


@kernel
def choose_device(
    tables: Tables, cpu: int, memory: int, share: int, cpu_free: int, memory_free: int, devices: Array, count: int, model: int
) -> int:
    """The device of which a share is taken."""
    _, chosen = share_choice(tables, share, cpu_free - cpu, memory_free - memory, devices, count, model)
    return chosen


@kernel
def left_over(cpu_left: int, memory_left: int, largest_cpu: int, largest_memory: int) -> int:
    """What stays free on a node without devices, beside the largest of the fleet: 0 … 65534."""
    return int(cpu_left * 32767.0 / max(largest_cpu, 1)) + int(memory_left * 32767.0 / max(largest_memory, 1))
