"""What is measured while virtual time passes.

Guarantees: use is integrated exactly, between all events; sums of integers times durations, in a fixed order, so the same run gives the
same bytes. A queue's entitlement here is its max-min fair part, by weight, of the resource that is scarcest: what it would hold if
everyone asked for what they ask for and nobody had more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from bushel.domain.resources import GPU_PREFIX
from bushel.scheduling.entities import Node, Run, ShapeClass
from bushel.simulation.jobs import SimulatedJob
from bushel.simulation.trace import World

GPU, CPU = "gpu", "cpu"
_POINTS = 512


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """Seconds since the start of the trace; NaN for what did not come to be. `lost_seconds` of one task times its tasks."""

    id: int
    name: str
    queue: str
    submitter: str
    state: str
    tasks: int
    elements: int
    arrival: float
    first_start: float
    end: float
    runtime: float
    attempts: int
    preemptions: int
    lost_seconds: float

    @property
    def wait(self) -> float:
        return self.first_start - self.arrival

    @property
    def completion(self) -> float:
        return self.end - self.arrival


@dataclass(frozen=True, slots=True)
class QueueOutcome:
    """In seconds times the scarce resource. `share`: the mean part of its entitlement that it held while it asked for anything."""

    name: str
    held: float
    entitled: float
    share: float


@dataclass(frozen=True, slots=True)
class Sample:
    """`fragmented`: the part of the free accelerators (or CPUs) that lies on nodes which are partly in use."""

    at: float
    used: float
    asked: float
    fragmented: float


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Of one run. `utilisation` of the scarce resource, over the whole run and over the time in which jobs arrived."""

    setting: str
    scarce: str
    seconds: float
    plans: int
    utilisation: float
    utilisation_while_arriving: float
    jobs: tuple[JobOutcome, ...]
    queues: tuple[QueueOutcome, ...]
    samples: tuple[Sample, ...]


class Measures:
    """Told of every change of what is asked for and held."""

    def __init__(self, world: World) -> None:
        capacity = world.capacity()
        self.scarce = GPU if any(name.startswith(GPU_PREFIX) for name in capacity) else CPU
        self._rows = {queue.id: row for row, queue in enumerate(world.queues)}
        self._names = [queue.name for queue in world.queues]
        self.weights = np.array([max(1, queue.weight) for queue in world.queues], np.float64)
        self._asked, self._held = np.zeros(len(self._rows), np.int64), np.zeros(len(self._rows), np.int64)
        self._held_seconds, self._entitled_seconds = np.zeros(len(self._rows)), np.zeros(len(self._rows))
        self._share_seconds, self._asking_seconds = np.zeros(len(self._rows)), np.zeros(len(self._rows))
        self._nodes = {node.id: self._of_node(node) if node.ready else 0 for node in world.nodes}
        self._capacity = sum(self._nodes.values())
        self._on_node: dict[int, int] = dict.fromkeys(self._nodes, 0)
        self._entitled: np.ndarray | None = None
        self._used_seconds, self._capacity_seconds, self._seconds = 0.0, 0.0, 0.0
        self._while_arriving = (0.0, 0.0)
        self._samples: list[Sample] = []
        self._every = 0.0

    # Told ------------------------------------------------------------------------------------------------------------

    def asked(self, queue_id: int, shape: ShapeClass, elements: int) -> None:
        self._asked[self._rows[queue_id]] += self.amount_of(shape) * elements
        self._entitled = None
        self._while_arriving = self._used_seconds, self._capacity_seconds

    def answered(self, queue_id: int, shape: ShapeClass) -> None:
        """An element finished."""
        self._asked[self._rows[queue_id]] -= self.amount_of(shape)
        self._entitled = None

    def held(self, queue_id: int, runs: Iterable[Run], sign: int = 1) -> None:
        for run in runs:
            amount = sign * (run.stop - run.first) * self._of_amounts(run.amounts)
            self._held[self._rows[queue_id]] += amount
            self._on_node[run.node_id] += amount

    def released(self, queue_id: int, runs: Iterable[Run]) -> None:
        self.held(queue_id, runs, -1)

    def node(self, node: Node) -> None:
        amount = self._of_node(node) if node.ready else 0
        self._capacity += amount - self._nodes[node.id]
        self._nodes[node.id] = amount
        self._entitled = None

    def pass_time(self, seconds: float) -> None:
        if seconds <= 0:
            return
        if self._entitled is None:
            self._entitled = max_min(self._asked, self.weights, self._capacity)
        asking = self._asked > 0
        used = int(self._held.sum())
        self._used_seconds += used * seconds
        self._capacity_seconds += self._capacity * seconds
        self._held_seconds += self._held * seconds
        self._entitled_seconds += self._entitled * seconds
        self._asking_seconds += asking * seconds
        part = np.minimum(1.0, self._held / np.maximum(self._entitled, 1e-9))
        self._share_seconds += np.where(asking, part, 0.0) * seconds
        if not self._samples or self._seconds >= self._samples[-1].at + self._every:
            self._sample(used)
        self._seconds += seconds

    @property
    def held_by_queue(self) -> np.ndarray:
        return self._held

    @property
    def free(self) -> int:
        return self._capacity - int(self._held.sum())

    def row_of(self, queue_id: int) -> int:
        return self._rows[queue_id]

    # Asked -----------------------------------------------------------------------------------------------------------

    def outcomes(self, jobs: Iterable[SimulatedJob], seconds: float, setting: str, plans: int) -> Outcomes:
        used, capacity = self._while_arriving
        queues = zip(self._names, self._held_seconds, self._entitled_seconds, self._share_seconds, self._asking_seconds, strict=True)
        return Outcomes(
            setting,
            self.scarce,
            seconds,
            plans,
            self._used_seconds / self._capacity_seconds if self._capacity_seconds else 0.0,
            used / capacity if capacity else 0.0,
            tuple(_outcome(job) for job in jobs),
            tuple(QueueOutcome(n, float(h), float(e), float(s / a) if a else 1.0) for n, h, e, s, a in queues if a),
            tuple(self._samples),
        )

    # How -------------------------------------------------------------------------------------------------------------

    def _sample(self, used: int) -> None:
        free = {node_id: max(0, total - self._on_node[node_id]) for node_id, total in self._nodes.items()}
        whole = sum(free.values())
        partly = sum(left for node_id, left in free.items() if self._on_node[node_id] > 0)
        size = max(1, self._capacity)
        self._samples.append(Sample(self._seconds, used / size, int(self._asked.sum()) / size, partly / whole if whole else 0.0))
        if len(self._samples) >= 2 * _POINTS:  # every other one goes, and from now on half as many come
            self._samples = self._samples[::2]
            self._every = (self._samples[-1].at - self._samples[0].at) / (len(self._samples) - 1)

    def _of_amounts(self, amounts: Mapping[str, int]) -> int:
        if self.scarce == CPU:
            return amounts.get(CPU, 0)
        return sum(amount for name, amount in amounts.items() if name.startswith(GPU_PREFIX))

    def _of_node(self, node: Node) -> int:
        return self._of_amounts(node.capacity)

    def amount_of(self, shape: ShapeClass) -> int:
        """Of the scarce resource, by one element."""
        field = "cpu_milli" if self.scarce == CPU else "gpu_milli"
        return sum(getattr(group.request, field) * group.count for group in shape.groups)


def max_min(asked: np.ndarray, weights: np.ndarray, capacity: int) -> np.ndarray:
    """Weighted max-min fair parts: who asks for least beside its weight is filled first."""
    parts = np.zeros(len(asked))
    order = np.argsort(asked / weights, kind="stable")
    needed = asked[order].astype(np.float64)
    weight = weights[order]
    left_weight = np.cumsum(weight[::-1])[::-1]
    filled = np.concatenate([[0.0], np.cumsum(needed)[:-1]])
    offered = np.maximum(0.0, capacity - filled) * weight / left_weight  # once one is not filled, none after it is
    short = np.flatnonzero(offered < needed)
    if len(short):
        first = short[0]
        level = max(0.0, capacity - filled[first]) / left_weight[first]
        needed[first:] = level * weight[first:]
    parts[order] = needed
    return parts


def _outcome(job: SimulatedJob) -> JobOutcome:
    trace, nan = job.job, float("nan")
    tasks = trace.shape.task_count
    return JobOutcome(
        *(trace.id, trace.name, trace.queue, trace.submitter, job.state.value, tasks, trace.elements, trace.arrival_seconds),
        nan if job.first_start is None else job.first_start,
        nan if job.ended_at is None else job.ended_at,
        *(trace.runtime_seconds, job.attempts_made, job.preemptions, job.lost_seconds * tasks),
    )
