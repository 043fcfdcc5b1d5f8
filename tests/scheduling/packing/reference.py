"""Packing, slow and plain: every node is scored for every task, from lists, in the words of docs/concepts/packing.md."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bushel.scheduling.packing.tables import LOSS_REACH, LOSS_STEPS, Tables
from tests.scheduling.packing.worlds import World


@dataclass
class Node:
    cpu: int
    memory: int
    devices: list[int]
    model: int


def shortage(tables: Tables, mean: float, spread: float, amount: int) -> float:
    if spread < 1e-9:
        return max(mean - amount, 0.0)
    z = (amount - mean) / spread
    if abs(z) >= LOSS_REACH:
        return 0.0 if z > 0 else mean - amount
    position = (z + LOSS_REACH) * LOSS_STEPS
    point = int(position)
    return spread * (tables.loss[point] + (position - point) * (tables.loss[point + 1] - tables.loss[point]))


def value(tables: Tables, node: Node) -> float:
    free = sum(node.devices)
    if not free:
        return 0.0
    cpu_level = sum(1 for level in tables.cpu_levels[node.model] if level <= node.cpu)
    memory_level = sum(1 for level in tables.memory_levels[node.model] if level <= node.memory)
    weights = tables.usable[node.model, cpu_level * tables.memory_stride + memory_level]
    idle = node.devices.count(1000)
    total = sum(tables.hole[g] + g * weights[tables.size_index[g]] for g in node.devices) + idle * weights[tables.several_at + idle]
    t = free / 1000
    total -= tables.cpu_price * shortage(tables, tables.cpu_mean * t, tables.cpu_spread * math.sqrt(t), node.cpu)
    return total - tables.memory_price * shortage(tables, tables.memory_mean * t, tables.memory_spread * math.sqrt(t), node.memory)


def ways(world: World, number: int, node: Node) -> list[tuple[int, ...]]:
    """The sets of devices that a task of the class might take there."""
    d = world.demands[number]
    if node.cpu < d.cpu or node.memory < d.memory or (d.models and node.model not in d.models):
        return []
    if d.share:
        return [(device,) for device, free in enumerate(node.devices) if free >= d.share]
    idle = [device for device, free in enumerate(node.devices) if free == 1000]
    return [tuple(idle[: d.whole])] if len(idle) >= d.whole else []


def taken(world: World, number: int, node: Node, way: tuple[int, ...], sign: int = 1) -> Node:
    d = world.demands[number]
    part = d.share or 1000
    devices = [free - sign * part if device in way else free for device, free in enumerate(node.devices)]
    return Node(node.cpu - sign * d.cpu, node.memory - sign * d.memory, devices, node.model)
