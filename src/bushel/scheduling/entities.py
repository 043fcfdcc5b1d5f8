"""What the scheduler is told about the world: one frozen record for each cluster, node, queue, waiting job and live attempt.

Guarantees: plain values; amounts are exact integers in their smallest unit. A record replaces the earlier one of its id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bushel.domain.job import Constraints, GroupShape, JobShape
from bushel.domain.lifecycle import FailureClass
from bushel.domain.ranges import IndexRanges

ONE_ELEMENT = IndexRanges(((0, 1),))
"""The indices of a job without an array."""

Billing = Literal["on_demand", "spot", "reserved"]


@dataclass(frozen=True, slots=True)
class Cluster:
    """`alive`: its agent holds a lease that has not run out and is not parked. `started_count` fences commits. `price` is what
    it costs beside the others: of clusters that are otherwise as good the cheaper is taken. `containers` and `processes`: whether it runs
    jobs that name an image, and those that name none; neither ever changes."""

    id: int
    name: str
    site: str
    epoch: int = 1
    alive: bool = True
    containers: bool = False
    started_count: int = 0
    price: int = 0
    processes: bool = True


@dataclass(frozen=True, slots=True)
class Node:
    """`topology` lists levels and places, outermost first: `(("rack", "r14"), ("host", "n03"))`.

    `flavor` names the class of hardware with its price. `maintenance` are windows, start and end in seconds since 1970.
    Nothing new starts on a quarantined node; on one on probation only tasks that may be tried again, and only as a last choice.
    """

    id: int
    cluster_id: int
    name: str
    capacity: Mapping[str, int]
    labels: Mapping[str, str] = field(default_factory=dict)
    topology: tuple[tuple[str, str], ...] = ()
    ready: bool = True
    cordoned: bool = False
    version: int = 1
    flavor: str = ""
    billing: Billing = "on_demand"
    maintenance: tuple[tuple[float, float], ...] = ()
    quarantined: bool = False
    probation: bool = False


@dataclass(frozen=True, slots=True)
class Queue:
    """`quota` limits what the live attempts of the queue and of all queues below it hold; `gpu` limits all models together.

    `guarantee` is what the queue can have back whenever it wants it; `lending` how much of that others may use meanwhile and
    `borrowing` how much beyond it the queue may use, both without bound for a resource that is not named (None: any).
    `weight` is in thousandths and may be 0. `history` is decayed past use in resource-seconds, as of a moment in seconds since
    1970.
    """

    id: int
    name: str
    parent_id: int | None = None
    weight: int = 1000
    quota: Mapping[str, int] = field(default_factory=dict)
    guarantee: Mapping[str, int] = field(default_factory=dict)
    lending: Mapping[str, int] | None = None
    borrowing: Mapping[str, int] | None = None
    history: tuple[Mapping[str, float], float] = ({}, 0.0)


@dataclass(frozen=True, slots=True)
class ShapeClass:
    """What decides where an element of a job fits. Jobs that agree in this are planned alike and counted together.

    `retryable`: an element that fails through its node is tried again.
    """

    groups: tuple[GroupShape, ...]
    constraints: Constraints = field(default_factory=Constraints)
    image: bool = False
    retryable: bool = True

    @classmethod
    def of(cls, shape: JobShape) -> ShapeClass:
        retryable = shape.retry.attempts > 1 and FailureClass.INFRASTRUCTURE in shape.retry.on
        return cls(shape.groups, shape.constraints, shape.image, retryable)

    @property
    def task_count(self) -> int:
        return sum(group.count for group in self.groups)


@dataclass(frozen=True, slots=True)
class ReadyJob:
    """A job of which at least one element may start now: not held, no unmet dependency, not cancelled, below its array limit.

    `startable` is how many may start, lowest indices of `pending` first. `exclusions` names, by index, the nodes on which
    that element failed through the node. `expected_seconds` is how long an element is expected to run, corrected by the history
    of its submitter; None: not known.
    """

    id: int
    queue_id: int
    shape: ShapeClass
    priority: int
    submitted_seconds: float
    startable: int = 1
    pending: IndexRanges = ONE_ELEMENT
    exclusions: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    expected_seconds: float | None = None
    submitter: str = ""


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
    """An attempt that has not ended, and so holds what it was placed on.

    Moments are in seconds since 1970; `started_seconds` is when it got its place. `checkpoint_seconds` is that of its last
    checkpoint, None when it has none; `preemptions` how often the element was stopped for others so far; `least_seconds` how
    long it may run before it may be stopped for others; `stopping`: it was already told to stop.
    """

    job_id: int
    index: int
    queue_id: int
    runs: tuple[Run, ...]
    shape: ShapeClass | None = None
    priority: int = 500
    started_seconds: float = 0.0
    expected_seconds: float | None = None
    checkpoint_seconds: float | None = None
    preemptions: int = 0
    preemptible: bool = True
    stopping: bool = False
    least_seconds: float = 0.0
