"""Placing work: the snapshot is brought up to date, a plan is made of it, what it starts is committed, then what it stops.

Guarantees:

- A commit counts only under the newest lease of the control plane, and only on clusters that are as the plan knew them: same epoch,
  lease alive, and no attempt placed there that the plan did not count (`clusters.started_count`). So two schedulers, or one that
  was paused for an hour, never over-commit a node, and never place on an agent that may have lost its lease.
- An element gets an attempt only if, under its job's lock, it still is pending and the job may start. What became impossible since
  the plan is left out and planned again; the rest is committed.
- Attempt, counts, state and events are one transaction of bounded size. A job that only waits costs no write at all.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime

from bushel.control.elements import LockedJob, lock_jobs, write_jobs
from bushel.control.kernels import compile_meanwhile
from bushel.control.preemption import ACTOR, evict, live_policy
from bushel.control.snapshot import SnapshotKeeper
from bushel.domain.failpoints import reach
from bushel.domain.ids import attempt_id
from bushel.domain.lifecycle import AttemptState
from bushel.domain.ranges import IndexRanges
from bushel.scheduling.entities import LiveAttempt, Run
from bushel.scheduling.fleet import Fleet
from bushel.scheduling.plan import Policy, Start, plan
from bushel.store import scheduling as store
from bushel.store.database import SCHEDULE, Database, Event, Transaction, cluster_topic
from bushel.store.leases import Lease

COMMIT_LIMIT = 500
"""Most elements that one transaction starts: it holds the rows of their jobs and of their clusters."""

NODES_IN_EVENT_LIMIT = 16

LIVE = ("starting", "running", "stopping")
"""Where elements are that have an attempt which has not ended."""

log = logging.getLogger(__name__)


class Scheduler:
    """One term of leadership: the snapshot begins empty with it."""

    def __init__(self, database: Database, lease: Lease, policy: Policy | None = None) -> None:
        self._database = database
        self._lease = lease
        self._policy = policy or live_policy()
        self._keeper = SnapshotKeeper(database)
        self._planned_revision = -1
        self._revisit_at_seconds: float | None = None

    def step(self) -> int:
        """Start what can start now, and stop what has to make room. How many elements; nothing is planned when nothing has changed."""
        snapshot = self._keeper.refresh()
        if not self._due(snapshot.revision, self._keeper.now):
            return 0
        compile_meanwhile(len(snapshot.fleet.nodes), len(snapshot.lines))
        made = plan(snapshot, self._keeper.now, self._policy)
        self._planned_revision = snapshot.revision
        self._revisit_at_seconds = made.revisit_at_seconds
        started = sum(self._commit(made.starts[first : first + COMMIT_LIMIT]) for first in range(0, len(made.starts), COMMIT_LIMIT))
        stopped = evict(self._database, self._lease, self._keeper, made.evictions) if started == len(made.starts) else 0
        if started == len(made.starts) and stopped == len(made.evictions) and made.complete:
            self._planned_revision = snapshot.revision  # what the plan did itself is nothing new to it
        return started + stopped

    def _due(self, revision: int, now: datetime) -> bool:
        return revision != self._planned_revision or (self._revisit_at_seconds is not None and now.timestamp() >= self._revisit_at_seconds)

    def _commit(self, starts: Sequence[Start]) -> int:
        """Make attempts of planned starts in one transaction. How many could be made."""
        committed = commit(self._database, self._lease, self._keeper, starts)
        reach("schedule.after_commit")
        if committed < len(starts):
            log.info("started=%d left_out=%d of a plan that had become stale in part", committed, len(starts) - committed)
        return committed


def commit(database: Database, lease: Lease, keeper: SnapshotKeeper, starts: Sequence[Start]) -> int:
    """Make attempts of those `starts` that are still possible, and tell `keeper`. How many.

    Raises:
        StaleEpoch: somebody else leads; nothing was written.
    """
    fleet = keeper.snapshot.fleet
    attempts: list[LiveAttempt] = []
    with database.transaction() as tx:
        lease.require(tx)
        jobs = lock_jobs(tx, {start.job_id for start in starts}, with_pending=True)
        possible = _still_wanted(starts, jobs, keeper)
        possible = _on_unchanged_nodes(tx, possible, fleet)
        versions, unknown = _lock_clusters(tx, possible, fleet)
        possible = [start for start in possible if start.cluster_id in versions]
        if possible:
            numbers = _insert(tx, possible, versions)
            again = store.preemptions(tx, sorted({job_id for (job_id, _), number in numbers.items() if number > 1}))
            since = tx.now.timestamp()
            attempts = [keeper.attempt_of(start, since, again.get((start.job_id, start.index), 0)) for start in possible]
            _tell(tx, possible, numbers, jobs, fleet)
            for job_id, indices in _by_job(possible).items():
                jobs[job_id].start(indices)
            write_jobs(tx, jobs.values(), ACTOR)
            tx.topics.discard(SCHEDULE)  # what it did itself is nothing new to it
        for cluster_id in versions:
            tx.wake(cluster_topic(cluster_id))
        reach("schedule.before_commit")
    _take_over(keeper, possible, attempts, jobs)
    if unknown:
        keeper.forget()
    return len(possible)


def _still_wanted(starts: Sequence[Start], jobs: dict[int, LockedJob], keeper: SnapshotKeeper) -> list[Start]:
    """Those whose job, now locked, still lets them start."""
    wanted: dict[int, frozenset[int]] = {}
    for job_id, indices in _by_job(starts).items():
        job = jobs.get(job_id)
        if job is None or job.ended or job.user_hold or job.unmet or job.cancelling or job.pending is None:
            continue
        possible = indices & job.pending
        limit = keeper.array_limit(job_id)
        if limit is not None:
            possible = possible.first(limit - sum(job.counts[place] for place in LIVE))
        wanted[job_id] = frozenset(possible)
    return [start for start in starts if start.index in wanted.get(start.job_id, ())]


def _on_unchanged_nodes(tx: Transaction, starts: list[Start], fleet: Fleet) -> list[Start]:
    """Those whose nodes are still what was planned with; the event that tells of the others is on its way."""
    planned = {run.node_id: fleet.nodes[run.node_id].version for start in starts for run in start.runs}
    unchanged = store.unchanged_nodes(tx, sorted(planned.items())) if planned else set()
    if len(unchanged) == len(planned):
        return starts
    return [start for start in starts if all(run.node_id in unchanged for run in start.runs)]


def _lock_clusters(tx: Transaction, starts: list[Start], fleet: Fleet) -> tuple[dict[int, int], bool]:
    """New desired versions of the clusters that are as planned for, and whether one holds attempts that the plan did not count."""
    versions: dict[int, int] = {}
    unknown = False
    epochs = {start.cluster_id: start.epoch for start in starts}
    counts = Counter(start.cluster_id for start in starts)
    for cluster_id in sorted(epochs):
        known = fleet.clusters[cluster_id].started_count
        version = store.place_on_cluster(tx, cluster_id, epochs[cluster_id], known, counts[cluster_id])
        if version is not None:
            versions[cluster_id] = version
        else:
            unknown = unknown or store.started_count(tx, cluster_id) != known
    return versions, unknown


def _insert(tx: Transaction, starts: list[Start], versions: dict[int, int]) -> dict[tuple[int, int], int]:
    texts: dict[int, str] = {}  # equal placements, which singles share, are written out once
    rows: list[tuple[int, int, int, int, int, str, int]] = []
    for start in starts:
        text = texts.get(id(start.runs))
        if text is None:
            text = texts[id(start.runs)] = json.dumps([_placement(run) for run in start.runs], separators=(",", ":"))
        rows.append((start.job_id, start.index, start.cluster_id, start.queue_id, start.epoch, text, versions[start.cluster_id]))
    return store.insert_attempts(tx, rows)


def _placement(run: Run) -> dict[str, object]:
    placement: dict[str, object] = {"group": run.group, "ranks": [run.first, run.stop], "node": run.node_id, "amounts": dict(run.amounts)}
    if run.devices:
        placement["devices"] = [list(devices) for devices in run.devices]
    return placement


def _tell(tx: Transaction, starts: list[Start], numbers: dict[tuple[int, int], int], jobs: dict[int, LockedJob], fleet: Fleet) -> None:
    for start in starts:
        number = numbers[start.job_id, start.index]
        nodes = sorted({fleet.nodes[run.node_id].name for run in start.runs})
        body = {
            "version": 1,
            "state": AttemptState.STARTING,
            "index": start.index,
            "attempt": number,
            "cluster": fleet.clusters[start.cluster_id].name,
            "nodes": nodes[:NODES_IN_EVENT_LIMIT],
            "node_count": len(nodes),
        }
        name = f"attempt/{attempt_id(start.job_id, start.index, number)}"
        tx.emit(Event("attempt.starting", jobs[start.job_id].scope_path, name, ACTOR, body, start.job_id))


def _by_job(starts: Sequence[Start]) -> dict[int, IndexRanges]:
    indices: dict[int, list[int]] = {}
    for start in starts:
        indices.setdefault(start.job_id, []).append(start.index)
    return {job_id: IndexRanges.of_indices(some) for job_id, some in indices.items()}


def _take_over(keeper: SnapshotKeeper, starts: list[Start], attempts: list[LiveAttempt], jobs: dict[int, LockedJob]) -> None:
    started = _by_job(starts)
    keeper.started(
        attempts,
        (
            (
                job_id,
                jobs[job_id].version,
                (jobs[job_id].pending or IndexRanges()) - indices,
                sum(jobs[job_id].counts[place] for place in LIVE),
            )
            for job_id, indices in started.items()
        ),
        Counter(start.cluster_id for start in starts),
    )


def start(database: Database, lease: Lease) -> Callable[[], int]:
    """The step of a scheduler for one term of leadership."""
    return Scheduler(database, lease).step
