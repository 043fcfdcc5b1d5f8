"""The scheduler's snapshot, kept in memory and brought up to date from events.

Guarantees: after `refresh` the snapshot is what the database held at one moment. Events say which rows to read again; only those are
read, in one query for each kind, and never all of them again. Open transactions elsewhere delay nothing, and what they commit later
is not missed. Clusters are the exception: they are few, and their leases are renewed without an event, so they are read each time.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from bushel.domain.ids import encode_job_id
from bushel.domain.job import JobShape
from bushel.domain.lifecycle import FailureClass
from bushel.domain.ranges import IndexRanges
from bushel.scheduling.decisions import Start
from bushel.scheduling.entities import ONE_ELEMENT, Cluster, LiveAttempt, Node, Queue, ReadyJob, Run, ShapeClass
from bushel.scheduling.snapshot import Snapshot
from bushel.store import scheduling as store
from bushel.store.database import Database, Transaction
from bushel.workloads.compile import compile_job

LOAD_AGAIN_AFTER = timedelta(hours=1)
"""A snapshot that was not refreshed for so long is loaded afresh: reading everything is cheaper than that many events."""

NEVER = datetime(1, 1, 1, tzinfo=UTC)

_SHAPES_LIMIT = 10_000

_OF_THE_ATTEMPT_ALONE = ("attempt.stopping", "attempt.checkpoint")
"""Events after which its job may start what it could start before."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KnownShape:
    """`preemptible`: who is stopped for others may run again."""

    shape: ShapeClass
    array_limit: int | None
    preemptible: bool
    expected_seconds: float


class SnapshotKeeper:
    """One snapshot. Not for two threads at once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.snapshot = Snapshot()
        self.now = NEVER
        self._moment: str | None = None
        self._used_at: datetime | None = None
        self._shapes: dict[str, KnownShape | None] = {}
        self._array_limits: dict[int, int] = {}
        self._firm: set[int] = set()  # of the jobs that may start, those that may not be stopped for others
        self._own_versions: dict[int, int] = {}

    def refresh(self) -> Snapshot:
        """Bring the snapshot up to date. The first call loads it."""
        with self._database.transaction() as tx:
            moment, now, used_at = store.read_only(tx)
            if self._moment is None or now - self.now > LOAD_AGAIN_AFTER:
                self._load(tx)
            else:
                self._follow(tx, self._moment, used_at != self._used_at)
        self._moment, self.now, self._used_at = moment, now, used_at
        return self.snapshot

    def forget(self) -> None:
        """Load everything again at the next refresh."""
        self._moment = None

    def array_limit(self, job_id: int) -> int | None:
        return self._array_limits.get(job_id)

    def attempt_of(self, start: Start, started_seconds: float, preemptions: int = 0) -> LiveAttempt:
        """What a planned start comes to once it is committed."""
        job = self.snapshot.lines.job(start.job_id)
        if job is None:
            raise LookupError(start.job_id)
        return LiveAttempt(
            start.job_id,
            start.index,
            start.queue_id,
            start.runs,
            job.shape,
            job.priority,
            started_seconds,
            job.expected_seconds,
            preemptions=preemptions,
            preemptible=job.id not in self._firm,
        )

    def stopping(self, elements: Iterable[tuple[int, int]]) -> None:
        """Take over that these were just told to stop, before the events of that come back."""
        for name in elements:
            if name in self.snapshot.fleet.attempts:
                self.snapshot.put_attempt(replace(self.snapshot.fleet.attempts[name], stopping=True))

    def started(
        self, attempts: Iterable[LiveAttempt], jobs: Iterable[tuple[int, int, IndexRanges, int]], counts: Mapping[int, int]
    ) -> None:
        """Take over what was just committed, before its events come back: attempts; id, version, pending indices and live count of
        each job; and how many were placed on each cluster."""
        for attempt in attempts:
            self.snapshot.put_attempt(attempt)
        put: list[ReadyJob] = []
        remove: list[int] = []
        for job_id, version, pending, live_count in jobs:
            self._own_versions[job_id] = version
            job = self.snapshot.lines.job(job_id) if pending else None
            startable = self._startable(job_id, len(pending), live_count)
            if job is None or startable <= 0:
                remove.append(job_id)
            else:
                exclusions = {index: nodes for index, nodes in job.exclusions.items() if index in pending}
                put.append(replace(job, startable=startable, pending=pending, exclusions=exclusions))
        self.snapshot.change_jobs(put, remove)
        for cluster_id, count in counts.items():
            cluster = self.snapshot.fleet.clusters[cluster_id]
            self.snapshot.put_cluster(replace(cluster, started_count=cluster.started_count + count))

    # Reading -------------------------------------------------------------------------------------------------------

    def _load(self, tx: Transaction) -> None:
        revision = self.snapshot.revision
        self.snapshot = Snapshot()
        self.snapshot.revision = revision + 1
        self._array_limits.clear()
        self._firm.clear()
        self._own_versions.clear()
        self._put_clusters(store.clusters(tx))
        self._put_nodes(store.nodes(tx))
        for row in store.queues(tx):
            self.snapshot.put_queue(queue_of(row))
        self._put_attempts(tx, store.live_attempts(tx))
        self.snapshot.change_jobs(self._ready_jobs(store.ready_jobs(tx), store.exclusions(tx)))

    def _follow(self, tx: Transaction, moment: str, queues_were_used: bool) -> None:
        known_clusters = set(self.snapshot.fleet.clusters)
        self._put_clusters(store.clusters(tx))
        jobs: set[int] = set()
        elements: set[tuple[int, int]] = set()
        nodes: set[tuple[str, str]] = set()
        queues: set[int] = set()
        for change in store.changes_since(tx, moment):
            self._note(change, jobs, elements, nodes, queues)
        if nodes:
            self._read_nodes(tx, nodes)
        appeared = set(self.snapshot.fleet.clusters) - known_clusters
        if appeared:
            self._put_nodes(row for row in store.nodes(tx) if row["cluster_id"] in appeared)
        if elements:
            self._read_attempts(tx, elements)
        if jobs:
            self._read_jobs(tx, jobs)
        if queues_were_used:
            queues |= set(self.snapshot.queues.queues)
        queues |= self.snapshot.lines.queues() - set(self.snapshot.queues.queues)
        if queues:
            found = {row["id"]: row for row in store.queues(tx, sorted(queues))}
            for queue_id in queues - set(found):
                self.snapshot.remove_queue(queue_id)
            for row in found.values():
                self.snapshot.put_queue(queue_of(row))

    def _note(
        self,
        change: dict[str, Any],
        jobs: set[int],
        elements: set[tuple[int, int]],
        nodes: set[tuple[str, str]],
        queues: set[int],
    ) -> None:
        """Add what an event names to what is read again."""
        kind, job_id, index = change["kind"], change["job_id"], change["index"]
        if job_id is None:
            if kind.startswith("queue."):
                queues.update(filter(None, (change["queue_id"],)))
            else:
                _, cluster, name = change["object"].split("/", 2)
                nodes.add((cluster, name))
        elif kind == "attempt.starting" and (job_id, index) in self.snapshot.fleet.attempts:
            pass  # our own commit, taken over at once
        elif kind in _OF_THE_ATTEMPT_ALONE:
            elements.add((job_id, index))
        elif kind == "job.starting" and (change["version"] or 0) <= self._own_versions.get(job_id, -1):
            self._own_versions.pop(job_id, None)
        else:
            jobs.add(job_id)
            if kind.startswith("attempt."):
                elements.add((job_id, index))

    def _read_nodes(self, tx: Transaction, names: set[tuple[str, str]]) -> None:
        cluster_names = {cluster.id: cluster.name for cluster in self.snapshot.fleet.clusters.values()}
        rows = store.nodes(tx, sorted(names))
        found = {row["id"] for row in rows}
        for node in list(self.snapshot.fleet.nodes.values()):
            if node.id not in found and (cluster_names.get(node.cluster_id, ""), node.name) in names:
                self.snapshot.remove_node(node.id)
        self._put_nodes(rows)

    def _read_attempts(self, tx: Transaction, elements: set[tuple[int, int]]) -> None:
        live = {(row["job_id"], row["index"]): row for row in store.live_attempts(tx, sorted(elements))}
        for job_id, index in elements - set(live):
            self.snapshot.remove_attempt(job_id, index)
        self._put_attempts(tx, live.values())

    def _put_attempts(self, tx: Transaction, rows: Collection[dict[str, Any]]) -> None:
        known = self.snapshot.fleet.attempts
        shapes = store.shapes(tx, sorted({row["job_id"] for row in rows if (row["job_id"], row["index"]) not in known}))
        for row in rows:
            before = known.get((row["job_id"], row["index"]))
            if before is not None and before.started_seconds == row["started_seconds"]:  # the same attempt, of which little can change
                changed = {name: row[name] for name in ("checkpoint_seconds", "stopping")}
                self.snapshot.put_attempt(replace(before, **changed))
            else:
                text = shapes.get(row["job_id"]) or store.shapes(tx, [row["job_id"]])[row["job_id"]]
                self.snapshot.put_attempt(_attempt(row, self._shape(text, row["job_id"])))

    def _read_jobs(self, tx: Transaction, job_ids: set[int]) -> None:
        ids = sorted(job_ids)
        ready = self._ready_jobs(store.ready_jobs(tx, ids), store.exclusions(tx, ids))
        gone = job_ids - {job.id for job in ready}
        for job_id in gone:
            self._array_limits.pop(job_id, None)
            self._firm.discard(job_id)
            self._own_versions.pop(job_id, None)
        self.snapshot.change_jobs(ready, gone)

    def _put_clusters(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            self.snapshot.put_cluster(Cluster(**row))
        for cluster_id in set(self.snapshot.fleet.clusters) - {row["id"] for row in rows}:
            for node in [node for node in self.snapshot.fleet.nodes.values() if node.cluster_id == cluster_id]:
                self.snapshot.remove_node(node.id)
            self.snapshot.remove_cluster(cluster_id)

    def _put_nodes(self, rows: Iterable[dict[str, Any]]) -> None:
        for row in rows:
            topology = tuple((level, place) for level, place in row["topology"])
            maintenance = tuple((float(starts), float(ends)) for starts, ends in row["maintenance"])
            self.snapshot.put_node(Node(**{**row, "topology": topology, "maintenance": maintenance}))

    def _ready_jobs(self, rows: list[dict[str, Any]], excluded: list[dict[str, Any]]) -> list[ReadyJob]:
        exclusions: dict[int, dict[int, tuple[int, ...]]] = {}
        for row in excluded:
            exclusions.setdefault(row["job_id"], {})[row["index"]] = tuple(row["excluded_nodes"])
        ready: list[ReadyJob] = []
        for row in rows:
            known = self._shape(row["shape"], row["id"])
            if known is None:
                continue
            if known.array_limit is not None:
                self._array_limits[row["id"]] = known.array_limit
            if not known.preemptible:
                self._firm.add(row["id"])
            startable = self._startable(row["id"], row["pending_count"], row["live_count"])
            if startable > 0:
                pending = ONE_ELEMENT if row["pending"] == "{[0,1)}" else IndexRanges.from_postgres(row["pending"])
                ready.append(
                    ReadyJob(
                        row["id"],
                        row["queue_id"],
                        known.shape,
                        row["priority"],
                        row["submitted_seconds"],
                        startable,
                        pending,
                        exclusions.get(row["id"], {}),
                        known.expected_seconds,
                        row["submitter"],
                    )
                )
        return ready

    def _startable(self, job_id: int, pending_count: int, live_count: int) -> int:
        limit = self._array_limits.get(job_id)
        return pending_count if limit is None else min(pending_count, limit - live_count)

    def _shape(self, text: str, job_id: int) -> KnownShape | None:
        """None, and a line in the log, for a document that cannot be understood: it must not stop all others."""
        if text not in self._shapes:
            if len(self._shapes) >= _SHAPES_LIMIT:
                self._shapes.clear()
            try:
                shape = compile_job(json.loads(text))
                self._shapes[text] = KnownShape(ShapeClass.of(shape), shape.array_limit, _preemptible(shape), shape.expected_seconds)
            except (LookupError, TypeError, ValueError):
                log.exception("the document of job %s cannot be planned", encode_job_id(job_id))
                self._shapes[text] = None
        return self._shapes[text]


def _preemptible(shape: JobShape) -> bool:
    """Whether an element that is stopped for others is queued again."""
    return shape.retry.attempts > 1 and FailureClass.PREEMPTED in shape.retry.on


def queue_of(row: dict[str, Any]) -> Queue:
    """A row of `store.scheduling.queues`."""
    return Queue(
        row["id"],
        row["name"],
        row["parent_id"],
        row["weight"],
        row["quota"],
        row["guarantee"],
        row["lending"] or None,
        row["borrowing"] or None,
        (row["used"] or {}, row["used_seconds"] or 0.0),
    )


def _attempt(row: dict[str, Any], known: KnownShape | None) -> LiveAttempt:
    """`known` None: of a document that cannot be understood; it is left alone."""
    runs = tuple(
        Run(
            part["group"],
            part["ranks"][0],
            part["ranks"][1],
            part["node"],
            part["amounts"],
            tuple(tuple(devices) for devices in part.get("devices", ())),
        )
        for part in row["placement"]
    )
    return LiveAttempt(
        row["job_id"],
        row["index"],
        row["queue_id"],
        runs,
        known.shape if known else None,
        row["priority"],
        row["started_seconds"],
        known.expected_seconds if known else None,
        row["checkpoint_seconds"],
        row["preemptions"],
        known.preemptible if known else False,
        row["stopping"],
    )
