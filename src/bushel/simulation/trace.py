"""What is simulated: jobs that arrive, and the world they arrive in.

Guarantees: plain values. Moments are seconds since the start of the trace, and the start of the trace is `EPOCH_SECONDS`, so that
everything which counts in seconds since 1970 sees ordinary times.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from bushel.domain.errors import BushelError
from bushel.domain.job import PRIORITY_NORMAL, GroupShape
from bushel.domain.resources import GPU_PREFIX, ResourceRequest
from bushel.domain.retry import RetryPolicy
from bushel.scheduling.entities import Cluster, Node, Queue, ShapeClass

EPOCH_SECONDS = 1_000_000_000.0
_GIB = 1 << 30


class TraceProblem(BushelError):
    """A trace, or what should name one, that cannot be understood."""

    code = "trace_problem"


@dataclass(frozen=True, slots=True)
class TraceJob:
    """`runtime_seconds` is what an element needs when nothing goes wrong; `declared_seconds` what its owner said it would.

    `checkpoint_seconds` is the time between checkpoints, None for work that starts over when it was stopped; `on_notice`: it also
    makes one when it is told to stop.
    """

    id: int
    queue: str
    arrival_seconds: float
    runtime_seconds: float
    shape: ShapeClass
    name: str = ""
    submitter: str = ""
    priority: int = PRIORITY_NORMAL
    elements: int = 1
    array_limit: int | None = None
    declared_seconds: float | None = None
    checkpoint_seconds: float | None = None
    on_notice: bool = True
    retry: RetryPolicy = field(default_factory=RetryPolicy)


@dataclass(frozen=True, slots=True)
class World:
    """Clusters, nodes and queues, as the scheduler is told of them."""

    clusters: tuple[Cluster, ...]
    nodes: tuple[Node, ...]
    queues: tuple[Queue, ...]

    def with_queues(self, names: Iterable[str]) -> World:
        """A queue of equal weight for every name that has none."""
        known = {queue.name for queue in self.queues}
        first = max((queue.id for queue in self.queues), default=0) + 1
        more = [Queue(first + at, name) for at, name in enumerate(sorted(set(names) - known))]
        return replace(self, queues=(*self.queues, *more))

    def capacity(self) -> dict[str, int]:
        total: dict[str, int] = {}
        for node in self.nodes:
            for name, amount in node.capacity.items():
                total[name] = total.get(name, 0) + amount
        return total


def world_of(nodes: Iterable[Node], *, cluster: str = "cluster", site: str = "site") -> World:
    """All nodes in one cluster."""
    return World((Cluster(1, cluster, site, containers=True),), tuple(nodes), ())


def equal_nodes(
    count: int, capacity: Mapping[str, int], *, first_id: int = 1, cluster_id: int = 1, per_rack: int = 16, billing: str = "on_demand"
) -> list[Node]:
    """Nodes in racks of `per_rack`."""
    return [
        Node(
            *(first_id + at, cluster_id, f"n{first_id + at:05d}", dict(capacity)),
            topology=(("block", f"b{at // (per_rack * 16):03d}"), ("rack", f"r{at // per_rack:04d}"), ("host", f"n{first_id + at:05d}")),
            billing="spot" if billing == "spot" else "on_demand",
        )
        for at in range(count)
    ]


def one_group(
    tasks: int, cpu_milli: int, memory_bytes: int, gpu_milli: int = 0, gpu_models: tuple[str, ...] = (), *, name: str = "main"
) -> ShapeClass:
    return ShapeClass((GroupShape(name, tasks, tasks, ResourceRequest(cpu_milli, memory_bytes, 0, gpu_milli, gpu_models)),))


def gang_of_accelerators(gpus: int, per_node: int, models: tuple[str, ...] = ()) -> ShapeClass:
    """As few tasks as can be, all alike: of the largest size that divides the gang and fits a node."""
    size = next(size for size in range(min(gpus, per_node), 0, -1) if gpus % size == 0)
    return one_group(gpus // size, 1000 * size, 4 * _GIB * size, 1000 * size, models)


def gpu_resource(model: str) -> str:
    return GPU_PREFIX + model
