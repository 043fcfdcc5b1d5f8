"""All that a plan is made from, in memory, brought up to date a record at a time.

Guarantees: a snapshot that followed changes equals one that was loaded afresh (`contents` compares them), and the same plan
comes of both; a change costs what changed; reading it for a plan changes nothing that decides anything. `revision` grows with
every change. `workspace` is what plans keep for the next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from bushel.scheduling.entities import Cluster, LiveAttempt, Node, Queue, ReadyJob
from bushel.scheduling.fleet import Fleet
from bushel.scheduling.lines import Lines
from bushel.scheduling.quota import QueueTree
from bushel.scheduling.workspace import Workspace


class Snapshot:
    """Put records in any order; a record of a known id replaces the earlier one."""

    def __init__(self) -> None:
        self.fleet = Fleet()
        self.queues = QueueTree()
        self.lines = Lines()
        self.revision = 0
        self.workspace = Workspace()

    def put_cluster(self, cluster: Cluster) -> None:
        if self.fleet.clusters.get(cluster.id) != cluster:
            self.fleet.put_cluster(cluster)
            self.revision += 1

    def remove_cluster(self, cluster_id: int) -> None:
        self.fleet.remove_cluster(cluster_id)
        self.revision += 1

    def put_node(self, node: Node) -> None:
        if self.fleet.nodes.get(node.id) != node:
            self.fleet.put_node(node)
            self.revision += 1

    def remove_node(self, node_id: int) -> None:
        self.fleet.remove_node(node_id)
        self.revision += 1

    def put_queue(self, queue: Queue) -> None:
        if self.queues.queues.get(queue.id) != queue:
            self.queues.put(queue)
            self.revision += 1

    def remove_queue(self, queue_id: int) -> None:
        self.queues.remove(queue_id)
        self.revision += 1

    def put_attempt(self, attempt: LiveAttempt) -> None:
        known = self.fleet.attempts.get((attempt.job_id, attempt.index))
        if known == attempt:
            return
        if known is not None:
            self.queues.charge(known, -1)
        self.fleet.put_attempt(attempt)
        self.queues.charge(attempt, 1)
        self.revision += 1

    def remove_attempt(self, job_id: int, index: int) -> None:
        known = self.fleet.remove_attempt(job_id, index)
        if known is not None:
            self.queues.charge(known, -1)
            self.revision += 1

    def change_jobs(self, put: Iterable[ReadyJob] = (), remove: Iterable[int] = ()) -> None:
        """Put these jobs and take those away, in one pass. A job that may not start now is not in a snapshot."""
        put = [job for job in put if self.lines.job(job.id) != job]
        remove = [job_id for job_id in remove if job_id in self.lines.where]
        if put or remove:
            self.lines.change(put, remove)
            self.revision += 1

    def with_jobs(self, put: Iterable[ReadyJob] = (), remove: Iterable[int] = ()) -> Snapshot:
        """A snapshot in which these jobs are otherwise, for asking "what if". It shares the rest: use it before either changes."""
        twin = Snapshot()
        twin.fleet, twin.queues, twin.lines = self.fleet, self.queues, self.lines.copy()
        twin.revision, twin.workspace = self.revision, self.workspace
        twin.change_jobs(put, remove)
        return twin

    @contextmanager
    def supposing(
        self,
        put: Iterable[ReadyJob] = (),
        ended: Iterable[tuple[int, int]] = (),
        queues: Iterable[Queue] = (),
        *,
        remove: Iterable[int] = (),
        started: Iterable[LiveAttempt] = (),
    ) -> Iterator[Snapshot]:
        """As `with_jobs`; these attempts have ended as well, those have started, and these queues are otherwise. Within the block this
        one may not be used."""
        twin = self.with_jobs(put, remove)
        new = list(started)
        gone = [attempt for key in ended if (attempt := self.fleet.attempts.get(key)) is not None]
        before = [known for queue in queues if (known := self.queues.queues.get(queue.id)) is not None]
        try:
            for attempt in gone:
                twin.remove_attempt(attempt.job_id, attempt.index)
            for attempt in new:
                twin.put_attempt(attempt)
            for queue in queues:
                twin.put_queue(queue)
            yield twin
        finally:
            for attempt in new:
                twin.remove_attempt(attempt.job_id, attempt.index)
            for attempt in gone:
                twin.put_attempt(attempt)
            for queue in before:
                twin.put_queue(queue)

    def contents(self) -> dict[str, Any]:
        """Everything that decides anything, free of history: equal contents give equal plans."""
        return {"fleet": self.fleet.contents(), "queues": self.queues.contents(), "jobs": self.lines.contents()}
