"""Stopping for others: what a plan would stop is told to stop, and everybody is told why and for whom.

Guarantees:

- An order counts only under the newest lease of the control plane. The orders, their events and the states that follow are one
  transaction.
- What gives way to one job gives way together: if any of it has ended or stops already, or if that job no longer wants to start, all of
  it is left to the next plan. So nobody is told twice, and nobody stops for a job that has gone away since.
- Whole elements: all tasks of a gang get the signal and the grace that their job asks for. What ends so is queued again and uses up no
  retry (`domain.retry`).
- The snapshot knows what stops before the next plan is made, which keeps the place for whom it is freed (`scheduling.reclaim`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bushel.control.cancel import make_room
from bushel.control.elements import LockedJob, lock_jobs, write_jobs
from bushel.control.snapshot import SnapshotKeeper
from bushel.domain.failpoints import reach
from bushel.domain.ids import encode_job_id
from bushel.scheduling.decisions import Eviction, EvictionReason
from bushel.scheduling.policy import Policy
from bushel.spec.settings import reclaim_settings
from bushel.store import scheduling as store
from bushel.store.attempts import AttemptKey
from bushel.store.database import SCHEDULE, Database
from bushel.store.leases import Lease

ACTOR = "controller/schedule"

EVICTIONS_LIMIT = 500
"""Elements that one transaction stops; more only if they give way to one job."""

log = logging.getLogger(__name__)


def live_policy(base: Policy | None = None, environment: Mapping[str, str] = os.environ) -> Policy:
    """The policy of this installation, from the environment of its parts.

    `BUSHEL_RECLAIM=off` keeps it from stopping anybody for others; with `BUSHEL_LEAST_RUN=10m` nobody is before so long.

    Raises:
        InvalidDocument: a setting cannot be understood.
    """
    reclaim, least_seconds = reclaim_settings(environment)
    return replace(base or Policy(), reclaim=reclaim, least_run_seconds=least_seconds)


def evict(database: Database, lease: Lease, keeper: SnapshotKeeper, evictions: Sequence[Eviction]) -> int:
    """Order to stop those of `evictions` that still serve their purpose, and tell `keeper`. How many.

    Raises:
        StaleEpoch: somebody else leads; nothing more was written.
    """
    stopped = sum(_evict(database, lease, keeper, part) for part in _parts(evictions))
    if stopped < len(evictions):
        log.info("stopped=%d left_out=%d of a plan that had become stale in part", stopped, len(evictions) - stopped)
    return stopped


def _parts(evictions: Sequence[Eviction]) -> Iterator[list[Eviction]]:
    """Transactions of bounded size that part nothing which gives way to one job."""
    part: list[Eviction] = []
    for together in _by_claimant(evictions).values():
        if part and len(part) + len(together) > EVICTIONS_LIMIT:
            yield part
            part = []
        part += together
    if part:
        yield part


def _by_claimant(evictions: Sequence[Eviction]) -> dict[int, list[Eviction]]:
    found: dict[int, list[Eviction]] = {}
    for eviction in evictions:
        found.setdefault(eviction.for_job_id, []).append(eviction)
    return found


def _evict(database: Database, lease: Lease, keeper: SnapshotKeeper, evictions: Sequence[Eviction]) -> int:
    with database.transaction() as tx:
        lease.require(tx)
        ids = {job_id for eviction in evictions for job_id in (eviction.job_id, eviction.for_job_id)}
        jobs = lock_jobs(tx, ids, with_pending=True)
        numbers = store.live_numbers(tx, [(eviction.job_id, eviction.index) for eviction in evictions])
        chosen = _still_due(evictions, jobs, numbers)
        if chosen:
            queues = {queue_id: queue.name for queue_id, queue in keeper.snapshot.queues.queues.items()}
            make_room(tx, jobs, dict(_orders(chosen, numbers, queues)), ACTOR)
            write_jobs(tx, jobs.values(), ACTOR)
            tx.topics.discard(SCHEDULE)  # what it did itself is nothing new to it
        reach("preemption.before_commit")
    reach("preemption.after_commit")
    keeper.stopping((eviction.job_id, eviction.index) for eviction in chosen)
    return len(chosen)


def _still_due(evictions: Sequence[Eviction], jobs: Mapping[int, LockedJob], numbers: Mapping[tuple[int, int], int]) -> list[Eviction]:
    chosen: list[Eviction] = []
    for job_id, together in _by_claimant(evictions).items():
        job = jobs.get(job_id)
        wants = job is not None and job.pending and not (job.ended or job.user_hold or job.unmet or job.cancelling)
        if wants and all((eviction.job_id, eviction.index) in numbers for eviction in together):
            chosen += together
    return chosen


def _orders(
    evictions: Sequence[Eviction], numbers: Mapping[tuple[int, int], int], queues: Mapping[int, str]
) -> Iterator[tuple[AttemptKey, dict[str, Any]]]:
    for eviction in evictions:
        queue, job = queues.get(eviction.for_queue_id, "another queue"), encode_job_id(eviction.for_job_id)
        yield (
            (eviction.job_id, eviction.index, numbers[eviction.job_id, eviction.index]),
            {
                "message": _MESSAGES[eviction.reason].format(queue=queue, job=job),
                "why": eviction.reason,
                "for_job": job,
                "for_queue": queue,
                "lost_seconds": round(eviction.lost_seconds, 3),
            },
        )


_MESSAGES = {
    EvictionReason.RECLAIM: "queue {queue} takes back what it is entitled to, for job {job}",
    EvictionReason.PRIORITY: "job {job} of the same queue {queue} has a higher priority",
    EvictionReason.GROWTH: "it had more than its smallest number of tasks, and queue {queue} needs the place for job {job}",
}
