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

from bushel.scheduling.kernels.mode import inner_kernel
from bushel.scheduling.packing.tables import DEVICE_MILLI, LOSS_REACH, LOSS_STEPS, Tables

KEY_LIMIT = 1 << 29
"""Keys lie between minus this and this."""

POINTS = 1 << 16
"""Parts of a quantum: order in the fleet and what is left over weigh in these."""

_QUANTA_LIMIT = (1 << 13) - 1

Array = Any  # a numpy array where it is called from Python, a compiled one within kernels


@inner_kernel
def level(levels: Array, model: int, amount: int) -> int:
    """How many of the model's levels, which rise, `amount` reaches."""
    reached, beyond = 0, levels.shape[1]
    while reached < beyond:
        middle = (reached + beyond) >> 1
        if levels[model, middle] <= amount:
            reached = middle + 1
        else:
            beyond = middle
    return reached


@inner_kernel
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


@inner_kernel
def value_after(
    tables: Tables, whole: int, share: int, cpu_left: int, memory_left: int, devices: Array, count: int, model: int
) -> tuple[float, int]:
    """V of a node after `whole` idle devices or a `share` of one are taken, and so much CPU and memory is left.

    A share is taken of the device where that leaves most, of equals the first; which one is the second result.
    """
    hole, size_index, usable, several_at = tables.hole, tables.size_index, tables.usable, tables.several_at
    slots = level(tables.cpu_levels, model, cpu_left) * tables.memory_stride + level(tables.memory_levels, model, memory_left)
    free = -share
    idle = 0
    value = 0.0
    missing = whole
    for device in range(count):
        size = int(devices[device])
        if size == DEVICE_MILLI:
            if missing > 0:
                missing -= 1
                continue
            idle += 1
        free += size
        value += hole[size] + size * usable[model, slots, size_index[size]]
    chosen = -1
    if share > 0:
        gain = 0.0
        seen = -1
        for device in range(count):
            size = int(devices[device])
            if size < share or size == seen:
                continue
            seen = size
            left = size - share
            idle_left = idle - 1 if size == DEVICE_MILLI else idle
            change = hole[left] + left * usable[model, slots, size_index[left]] + idle_left * usable[model, slots, several_at + idle_left]
            change -= hole[size] + size * usable[model, slots, size_index[size]]
            if chosen < 0 or change > gain:
                gain = change
                chosen = device
        value += gain
    else:
        value += idle * usable[model, slots, several_at + idle]
    if free == 0:
        return 0.0, chosen
    all_of_it = free * 0.001
    root = math.sqrt(all_of_it)
    if tables.cpu_price > 0.0:
        value -= tables.cpu_price * expected_shortage(tables.loss, tables.cpu_mean * all_of_it, tables.cpu_spread * root, cpu_left)
    if tables.memory_price > 0.0:
        value -= tables.memory_price * expected_shortage(
            tables.loss, tables.memory_mean * all_of_it, tables.memory_spread * root, memory_left
        )
    return value, chosen


@inner_kernel
def node_value(tables: Tables, cpu_free: int, memory_free: int, devices: Array, count: int, model: int) -> float:
    """V of a node. `devices` are free thousandths, of which the first `count` exist."""
    return value_after(tables, 0, 0, cpu_free, memory_free, devices, count, model)[0]


@inner_kernel
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
    after = value_after(tables, whole, share, cpu_free - cpu, memory_free - memory, devices, count, model)[0]
    extra = 1 if whole == 0 and share == 0 else 0  # work without devices keeps off the nodes that have some
    quanta = min(max(math.floor((before - after) / tables.quantum + 0.5), -_QUANTA_LIMIT), _QUANTA_LIMIT - 1024) + extra
    return int(quanta) * POINTS + int(tables.slope * rank_points)


@inner_kernel
def choose_device(
    tables: Tables, cpu: int, memory: int, share: int, cpu_free: int, memory_free: int, devices: Array, count: int, model: int
) -> int:
    """The device of which a share is taken."""
    return value_after(tables, 0, share, cpu_free - cpu, memory_free - memory, devices, count, model)[1]


@inner_kernel
def left_over(cpu_left: int, memory_left: int, largest_cpu: int, largest_memory: int) -> int:
    """What stays free on a node without devices, beside the largest of the fleet: 0 … 65534."""
    return int(cpu_left * 32767.0 / max(largest_cpu, 1)) + int(memory_left * 32767.0 / max(largest_memory, 1))
