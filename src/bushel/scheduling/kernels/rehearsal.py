"""Compile every kernel of a plan for the types it is called with, or load what was compiled before, by making small plans.

Guarantees: afterwards a plan compiles nothing. `python -m bushel.scheduling.kernels.rehearsal` does it in a process of its own, so that
another, which meanwhile serves plainly, then only has to load.
"""

from __future__ import annotations

from datetime import UTC, datetime

from bushel.domain.job import Constraints, GroupShape
from bushel.domain.resources import ResourceRequest
from bushel.scheduling.entities import Cluster, LiveAttempt, Node, Queue, ReadyJob, Run, ShapeClass
from bushel.scheduling.kernels.mode import using
from bushel.scheduling.plan import Policy, plan
from bushel.scheduling.snapshot import Snapshot

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def rehearse() -> None:
    """Takes under a second where all has been compiled before, and half a minute where nothing has."""
    with using(compiled=True):
        snapshot = _small()
        plan(snapshot, _NOW, Policy(patience_seconds=1e9))
        snapshot.put_queue(Queue(3, "c", 1, guarantee={"cpu": 1000}, lending={"cpu": 0}))
        plan(snapshot, _NOW, Policy(patience_seconds=0.0))
        for number in (1, 2):  # one lends, another takes back
            snapshot.put_attempt(LiveAttempt(50, number, 2, (Run("main", 0, 1, number, {"cpu": 8000, "memory": 8}),)))
        plan(snapshot, _NOW, Policy(reclaim=True))


def _small() -> Snapshot:
    """Of each kind one: parts of accelerators of either model, whole ones of one, a gang, a job that avoids a node, one that does not
    fit."""
    snapshot = Snapshot()
    snapshot.put_cluster(Cluster(1, "c", "s"))
    for number, accelerators in enumerate(({"gpu/H100": 4000}, {}, {"gpu/A100": 4000}), start=1):
        snapshot.put_node(Node(number, 1, f"n{number}", {"cpu": 8000, "memory": 64, **accelerators}))
    snapshot.put_queue(Queue(1, "a", quota={"cpu": 50_000}))
    snapshot.put_queue(Queue(2, "b", 1))

    def shape(count: int, gpu: int, models: tuple[str, ...] = (), cpu: int = 1000) -> ShapeClass:
        return ShapeClass((GroupShape("main", count, count, ResourceRequest(cpu, 8, 0, gpu, models)),), Constraints())

    shapes = [shape(1, 0), shape(1, 500), shape(1, 1000, ("H100",)), shape(2, 0), shape(1, 0, cpu=8000)]
    waiting = [ReadyJob(number, 1 + number % 2, what, 500, 0.0) for number, what in enumerate(shapes, start=1)]
    snapshot.change_jobs([*waiting, ReadyJob(9, 1, shapes[0], 500, 0.0, exclusions={0: (1,)})])
    return snapshot


if __name__ == "__main__":
    rehearse()
