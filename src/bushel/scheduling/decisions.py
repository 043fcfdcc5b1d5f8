"""What a plan decides, a frozen record for each decision.

Guarantees: plain values that name jobs, queues and nodes by id; nothing in them depends on how the snapshot came about.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bushel.scheduling.entities import Run, ShapeClass
from bushel.scheduling.quota import OverQuota


@dataclass(frozen=True, slots=True)
class Start:
    """One element, placed. `epoch` is that of the cluster's lease for which this was planned."""

    job_id: int
    index: int
    queue_id: int
    cluster_id: int
    epoch: int
    runs: tuple[Run, ...]


class Cause(StrEnum):
    NO_NODE = "no_node"  # no node that may be used now could ever hold it
    NO_ROOM = "no_room"  # not beside what runs, what is ahead, and what is kept free
    QUOTA = "quota"
    NOT_REACHED = "not_reached"  # the plan is full; the next one goes on


@dataclass(frozen=True, slots=True)
class Waiting:
    """What keeps the rest of a line. `first_job_id` is the one that was tried; those behind it ask for the same."""

    queue_id: int
    shape: ShapeClass
    cause: Cause
    first_job_id: int
    jobs: int
    elements: int
    over_quota: OverQuota | None = None


class EvictionReason(StrEnum):
    RECLAIM = "reclaim"  # another queue takes back what it is entitled to
    PRIORITY = "priority"  # a job of higher priority in the same queue
    GROWTH = "growth"  # what an elastic group had beyond its minimum


@dataclass(frozen=True, slots=True)
class Eviction:
    """An element that is told to stop, for whom, and what is lost by it: the seconds since its last checkpoint, times its tasks."""

    job_id: int
    index: int
    reason: EvictionReason
    for_job_id: int
    for_queue_id: int
    lost_seconds: float


@dataclass(frozen=True, slots=True)
class Reservation:
    """Nodes that an element gets at `start_seconds`, in seconds since 1970; nothing that ends later starts there before."""

    job_id: int
    index: int
    start_seconds: float
    node_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Growth:
    """More tasks for a group of a live element that began with fewer than it asked for."""

    job_id: int
    index: int
    runs: tuple[Run, ...]
