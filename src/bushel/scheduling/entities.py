"""What the scheduler is told about the world: one frozen record for each cluster, node, queue, waiting job and live attempt.

Guarantees: plain values; amounts are exact integers in their smallest unit. A record replaces the earlier one of its id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bushel.domain.job import Constraints, GroupShape, JobShape
from bushel.domain.ranges import IndexRanges

ONE_ELEMENT = IndexRanges(((0, 1),))
"""The indices of a job without an array."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """`alive`: its agent holds a lease that has not run out and is not parked. `started_count` fences commits."""

    id: int
    name: str
    site: str
    epoch: int = 1
    alive: bool = True
    containers: bool = False
    started_count: int = 0


@dataclass(frozen=True, slots=True)
class Node:
    """`topology` lists levels and places, outermost first: `(("rack", "r14"), ("host", "n03"))`."""

    id: int
    cluster_id: int
    name: str
    capacity: Mapping[str, int]
    labels: Mapping[str, str] = field(default_factory=dict)
    topology: tuple[tuple[str, str], ...] = ()
    ready: bool = True
    cordoned: bool = False
    version: int = 1


@dataclass(frozen=True, slots=True)
class Queue:
    """`quota` limits what the live attempts of the queue and of all queues below it hold; `gpu` limits all models together."""

    id: int
    name: str
    parent_id: int | None = None
    weight: int = 1000
    quota: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ShapeClass:
    """What decides where an element of a job fits. Jobs that agree in this are planned alike and counted together."""

    groups: tuple[GroupShape, ...]
    constraints: Constraints = field(default_factory=Constraints)
    image: bool = False

    @classmethod
    def of(cls, shape: JobShape) -> ShapeClass:
        return cls(shape.groups, shape.constraints, shape.image)

    @property
    def task_count(self) -> int:
        return sum(group.count for group in self.groups)


@dataclass(frozen=True, slots=True)
class ReadyJob:
    """A job of which at least one element may start now: not held, no unmet dependency, not cancelled, below its array limit.

    `startable` is how many may start, lowest indices of `pending` first. `exclusions` names, by index, the nodes on which
    that element failed through the node.
    """

    id: int
    queue_id: int
    shape: ShapeClass
    priority: int
    submitted_seconds: float
    startable: int = 1
    pending: IndexRanges = ONE_ELEMENT
    exclusions: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """Ranks `[first, stop)` of a group on one node. `amounts` are of one task; `devices` name the accelerators of each, in order."""

    group: str
    first: int
    stop: int
    node_id: int
    amounts: Mapping[str, int]
    devices: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class LiveAttempt:
    """An attempt that has not ended, and so holds what it was placed on."""

    job_id: int
    index: int
    queue_id: int
    runs: tuple[Run, ...]
