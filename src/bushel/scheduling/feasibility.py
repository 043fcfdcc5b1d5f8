"""Which nodes could hold a task of a shape, and for those that cannot: why, counted.

Guarantees: a node is allowed when it meets every constraint of the document and is large enough when empty; what is free
plays no part, so the answer holds until the fleet changes. In the counts every node appears once, under the first thing
that is in its way, in the order of `Obstacle`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from bushel.domain.job import GroupShape
from bushel.domain.resources import CPU, DISK, GPU_PREFIX, MEMORY
from bushel.scheduling.entities import ShapeClass
from bushel.scheduling.fleet import DEVICE_MILLI, Fleet, Integers, Mask
from bushel.scheduling.quota import add_charge
from bushel.scheduling.ways import models_in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bushel.scheduling.entities import Node
    from bushel.scheduling.fit import Room


class Obstacle(StrEnum):
    SITE = "site"
    CLUSTER = "cluster"
    LABEL = "label"
    NO_CONTAINERS = "no_containers"
    NO_PROCESSES = "no_processes"  # it runs what has an image, and this has none
    NO_PLACE = "no_place"  # it names no place at the required topology level
    LOST = "node_lost"
    NO_SUCH_GPU = "no_such_gpu"
    TOO_SMALL = "too_small"
    NO_LEASE = "no_lease"
    CORDONED = "cordoned"
    QUARANTINED = "quarantined"
    PROBATION = "probation"
    MAINTENANCE = "maintenance"
    FAILED_THERE = "failed_there"
    KEPT_FREE = "kept_free"  # for a job further ahead that has waited long
    BUSY = "busy"


@dataclass(frozen=True, slots=True)
class NodeCount:
    """`nodes` nodes have this in their way: `detail` is the resource, label, site or level, `needed` its amount for one task."""

    obstacle: Obstacle
    nodes: int
    detail: str = ""
    needed: int = 0


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to meet a request: with accelerators of `model`, or with none. `rows` are the nodes allowed."""

    model: str | None
    amounts: dict[str, int]
    columns: tuple[tuple[int, int], ...]  # resource column, amount; accelerators apart
    device_column: int | None
    devices: int  # whole ones for one task
    share: int  # or a part of one, in thousandths
    rows: Integers


@dataclass(frozen=True, slots=True)
class Choices:
    """The ways to meet a group's request: in order of preference, those of one rank being equally good."""

    group: GroupShape
    ranks: tuple[tuple[Variant, ...], ...]

    @property
    def variants(self) -> tuple[Variant, ...]:
        return tuple(variant for rank in self.ranks for variant in rank)


def choices_of(fleet: Fleet, shape: ShapeClass) -> tuple[Choices, ...]:
    """For each group, in the order of the document. Remembered until the fleet changes."""
    memo = fleet.memo
    found: tuple[Choices, ...] | None = memo.get(shape)
    if found is None:
        matching = allowed_nodes(fleet, shape)
        if shape.task_count > 1 or not shape.retryable:
            matching = matching & ~fleet.probation
        found = memo[shape] = tuple(_choices(fleet, group, matching) for group in shape.groups)
    return found


def charge_of_counts(variants: Iterable[Variant], counts: Iterable[int]) -> dict[str, int]:
    """What one element with these counts takes of its queue's quota."""
    charge: dict[str, int] = {}
    for variant, count in zip(variants, counts, strict=True):
        add_charge(charge, variant.amounts, count)
    return charge


def allowed_nodes(fleet: Fleet, shape: ShapeClass) -> Mask:
    """Nodes on which something may start and that meet every constraint of the document, whatever their size."""
    return fleet.usable & _matches(fleet, shape)


def _choices(fleet: Fleet, group: GroupShape, matching: Mask) -> Choices:
    ranks = models_in_order(group, fleet.gpu_models())
    variants = (tuple(v for model in rank if (v := _variant(fleet, group, model, matching)) is not None) for rank in ranks)
    return Choices(group, tuple(rank for rank in variants if rank))


def _variant(fleet: Fleet, group: GroupShape, model: str | None, matching: Mask) -> Variant | None:
    amounts = group.request.amounts(model)
    device_name = GPU_PREFIX + model if model is not None else None
    columns: list[tuple[int, int]] = []
    device_column = None
    devices = share = 0
    allowed = matching.copy()
    for name, amount in amounts.items():
        column = fleet.column_of.get(name)
        if column is None:
            return None
        if name == device_name:
            device_column = column
            share = amount if amount < DEVICE_MILLI else 0
            devices = 0 if share else -(-amount // DEVICE_MILLI)
            allowed &= fleet.capacity[column] >= max(devices, 1) * DEVICE_MILLI
        else:
            columns.append((column, amount))
            allowed &= fleet.capacity[column] >= amount
    rows = np.flatnonzero(allowed)
    if not len(rows):
        return None
    rows = rows[np.argsort(fleet.ids[rows])]
    return Variant(model, amounts, tuple(columns), device_column, devices, share, rows)


def _matches(fleet: Fleet, shape: ShapeClass) -> Mask:
    mask = np.ones(len(fleet.ids), np.bool_)
    for _, _, blocked in _constraint_masks(fleet, shape):
        mask &= ~blocked
    return mask


def _constraint_masks(fleet: Fleet, shape: ShapeClass) -> list[tuple[Obstacle, str, Mask]]:
    """For each constraint of the document, the nodes that break it."""
    wanted = shape.constraints
    masks: list[tuple[Obstacle, str, Mask]] = []

    def of_clusters(obstacle: Obstacle, detail: str, wrong: list[int]) -> None:
        masks.append((obstacle, detail, np.isin(fleet.cluster_ids, np.array(wrong, np.int64))))

    clusters = list(fleet.clusters.values())
    if wanted.sites:
        of_clusters(Obstacle.SITE, ", ".join(wanted.sites), [c.id for c in clusters if c.site not in wanted.sites])
    if wanted.clusters:
        of_clusters(Obstacle.CLUSTER, ", ".join(wanted.clusters), [c.id for c in clusters if c.name not in wanted.clusters])
    for key, value in wanted.labels:
        masks.append((Obstacle.LABEL, f"{key}={value}", ~fleet.has_label(key, value)))
    if shape.image:
        of_clusters(Obstacle.NO_CONTAINERS, "", [c.id for c in clusters if not c.containers])
    elif only := [c.id for c in clusters if not c.processes]:
        of_clusters(Obstacle.NO_PROCESSES, "", only)
    if wanted.require is not None:
        masks.append((Obstacle.NO_PLACE, wanted.require, fleet.place_numbers(wanted.require) < 0))
    return masks


def count_obstacles(fleet: Fleet, shape: ShapeClass, group: GroupShape, room: Room, excluded: Mask | None = None) -> tuple[NodeCount, ...]:
    """Why each node of the fleet cannot hold one more task of `group`, as `room` stands; nodes that can are not counted."""
    left = np.zeros(len(fleet.ids), np.bool_)
    left[list(fleet.row_of.values())] = True
    counts: list[NodeCount] = []

    def count(obstacle: Obstacle, blocked: Mask, detail: str = "", needed: int = 0) -> None:
        hit = left & blocked
        if number := int(hit.sum()):
            counts.append(NodeCount(obstacle, number, detail, needed))
            left[hit] = False

    for obstacle, detail, blocked in _constraint_masks(fleet, shape):
        count(obstacle, blocked, detail)
    _count_state(fleet, count, Obstacle.LOST, lambda node: not node.ready)
    nobody = np.zeros(len(left), np.bool_)
    request = group.request
    plain = [
        (name, amount) for name, amount in ((CPU, request.cpu_milli), (MEMORY, request.memory_bytes), (DISK, request.disk_bytes)) if amount
    ]
    if request.gpu_milli:
        models = request.gpu_models or tuple(fleet.gpu_models())
        devices = max(1, -(-request.gpu_milli // DEVICE_MILLI)) * DEVICE_MILLI
        having = [fleet.capacity[fleet.column_of[GPU_PREFIX + m]] for m in models if GPU_PREFIX + m in fleet.column_of]
        wanted = " or ".join(models) or "any model"
        count(Obstacle.NO_SUCH_GPU, ~np.any([has > 0 for has in having], axis=0) if having else ~nobody, wanted, request.gpu_milli)
        count(Obstacle.TOO_SMALL, ~np.any([has >= devices for has in having], axis=0) if having else ~nobody, "gpu", request.gpu_milli)
    for name, amount in plain:
        column = fleet.column_of.get(name)
        count(Obstacle.TOO_SMALL, fleet.capacity[column] < amount if column is not None else ~nobody, name, amount)
    alive = {cluster.id for cluster in fleet.clusters.values() if cluster.alive}
    count(Obstacle.NO_LEASE, ~np.isin(fleet.cluster_ids, np.array(sorted(alive), np.int64)))
    _count_state(fleet, count, Obstacle.CORDONED, lambda node: node.cordoned)
    _count_state(fleet, count, Obstacle.QUARANTINED, lambda node: node.quarantined)
    if shape.task_count > 1 or not shape.retryable:
        count(Obstacle.PROBATION, fleet.probation)
    if excluded is not None:
        count(Obstacle.FAILED_THERE, excluded)
    maintained = nobody.copy()
    maintained[list(fleet.maintained)] = True
    count(Obstacle.MAINTENANCE, room.closed & maintained)
    count(Obstacle.KEPT_FREE, room.closed)
    if request.gpu_milli:
        fits = nobody.copy()
        for choice in choices_of(fleet, shape)[shape.groups.index(group)].variants:
            fits[choice.rows] |= room.device_counts(choice, choice.rows) > 0
        count(Obstacle.BUSY, ~fits, "gpu", request.gpu_milli)
    for name, amount in plain:
        column = fleet.column_of.get(name)
        if column is not None:
            count(Obstacle.BUSY, room.free[column] < amount, name, amount)
    return tuple(counts)


def _count_state(fleet: Fleet, count: Callable[[Obstacle, Mask], None], obstacle: Obstacle, holds: Callable[[Node], bool]) -> None:
    hit = np.zeros(len(fleet.ids), np.bool_)
    for node_id, row in fleet.row_of.items():
        if not fleet.open[row]:
            hit[row] = holds(fleet.nodes[node_id])
    count(obstacle, hit)
