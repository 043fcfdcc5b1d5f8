"""Stopping: what people cancel, and attempts that have to make room.

Guarantees: what has not started is cancelled at once, whatever its number, as ranges; what is live gets the order to stop, with its
grace, and ends when its agent says so. A task that succeeds meanwhile has succeeded: the order came too late. Cancelling again, or
what has ended, changes nothing. An attempt that no agent has started yet is stopped in the same way: its agent reports the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bushel.control.audit import audit
from bushel.control.elements import LockedJob, lock_jobs, write_jobs
from bushel.domain.errors import NotFound
from bushel.domain.failpoints import reach
from bushel.domain.ids import attempt_id, encode_job_id
from bushel.domain.lifecycle import TERMINAL_JOB_STATES, AttemptState, JobState, Reason
from bushel.domain.principal import Principal
from bushel.domain.ranges import IndexRanges
from bushel.store import attempts, clusters, elements
from bushel.store.attempts import AttemptChange, AttemptKey
from bushel.store.database import Database, Event, Transaction
from bushel.store.job_pages import JobFilter, job_page

PAGE = 500
"""Jobs that one transaction cancels."""

MOST_PARTS_TOLD = 200
"""Most ranges that an event lists."""

_LIVE_STATES = tuple(state.value for state in JobState if state not in TERMINAL_JOB_STATES)


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What a cancellation came to: jobs it changed, and those it left alone because the principal may not change them."""

    jobs: int = 0
    refused: int = 0


def may_change(principal: Principal, job_id: int, submitter_id: int, scope_path: str) -> None:
    """One's own jobs need less than those of others.

    Raises:
        NotFound: the principal may not read the job.
        Forbidden: it may not change it.
    """
    principal.may(_permission(principal, submitter_id), scope_path, f"job {encode_job_id(job_id)}")


def cancel_job(tx: Transaction, principal: Principal, job_id: int, indices: IndexRanges | None = None, message: str | None = None) -> bool:
    """Cancel a job, or some indices of an array. Whether that changed anything.

    Raises:
        NotFound: there is no such job, or the principal may not read it.
        Forbidden: the principal may not change it.
    """
    jobs = lock_jobs(tx, [job_id], with_pending=True)
    if not jobs:
        raise NotFound(f"there is no job {encode_job_id(job_id)}, or you may not see it")
    may_change(principal, job_id, jobs[job_id].submitter_id, jobs[job_id].scope_path)
    return bool(_cancel(tx, principal, jobs, indices, message))


def cancel_jobs(tx: Transaction, principal: Principal, job_ids: Iterable[int], message: str | None = None) -> Cancelled:
    """Cancel those of these jobs that the principal may change."""
    jobs = lock_jobs(tx, job_ids, with_pending=True)
    own = {job_id: job for job_id, job in jobs.items() if principal.can(_permission(principal, job.submitter_id), job.scope_path)}
    return Cancelled(len(_cancel(tx, principal, own, None, message)), len(jobs) - len(own))


def cancel_matching(database: Database, principal: Principal, wanted: JobFilter, message: str | None = None) -> Cancelled:
    """Cancel everything that a filter selects and that has not ended, newest first, a page in a transaction."""
    live = tuple(state for state in wanted.states if state in _LIVE_STATES) if wanted.states else _LIVE_STATES
    total, before_id = Cancelled(), None
    while live:
        with database.transaction() as tx:
            page = job_page(tx, replace(wanted, states=live), before_id=before_id, limit=PAGE)
            done = cancel_jobs(tx, principal, [row["id"] for row in page.rows], message)
        reach("cancel.after_page")
        total = Cancelled(total.jobs + done.jobs, total.refused + done.refused)
        before_id = page.next_before
        if before_id is None:
            break
    return total


def stop_attempts(
    tx: Transaction, keys: Sequence[AttemptKey], reason: Reason, grace_seconds: float, actor: str, message: str | None = None
) -> int:
    """Order live attempts to stop, such as those that must make room. How many had not been told before.

    What follows their end is decided by the retry rules, from `reason`.
    """
    jobs = lock_jobs(tx, {key[0] for key in keys})
    told = _stop(tx, jobs, attempts.lock_live(tx, keys), reason, message, actor, grace_seconds)
    write_jobs(tx, jobs.values(), actor)
    return told


def make_room(tx: Transaction, jobs: dict[int, LockedJob], orders: Mapping[AttemptKey, Mapping[str, Any]], actor: str) -> None:
    """Order live attempts of locked jobs to stop for others, each with its job's own grace. The caller writes the jobs.

    `orders` says by attempt what its event tells, its `message` among it.
    """
    _stop(tx, jobs, attempts.lock_live(tx, list(orders)), Reason.PREEMPTED, None, actor, None, orders)


def stop_jobs(tx: Transaction, jobs: dict[int, LockedJob], reason: Reason, message: str, actor: str) -> None:
    """Cancel locked jobs, those that have not ended, for a cause of the platform's. The caller writes them."""
    _empty(tx, {job_id: job for job_id, job in jobs.items() if not job.ended}, None, reason, message, actor)


def _cancel(
    tx: Transaction, principal: Principal, jobs: dict[int, LockedJob], indices: IndexRanges | None, message: str | None
) -> set[int]:
    """Cancel locked jobs. The ids of those that changed."""
    open_jobs = {job_id: job for job_id, job in jobs.items() if not job.ended}
    _empty(tx, open_jobs, indices, Reason.CANCELLED_BY_USER, message or f"cancelled by {principal.name}", principal.name)
    changed = {job_id for job_id, job in open_jobs.items() if job.dirty}
    for job_id in changed:
        job = open_jobs[job_id]
        finished = job.finished_now("cancelled")
        if job.is_array and finished:
            few = len(finished.parts) <= MOST_PARTS_TOLD
            job.told["cancelled"] = str(finished) if few else f"{len(finished)} indices"
        audit(tx, principal, "job:cancel", f"job/{encode_job_id(job_id)}", job.scope_path, **({"indices": str(indices)} if indices else {}))
    write_jobs(tx, open_jobs.values(), principal.name)
    return changed


def _empty(tx: Transaction, open_jobs: dict[int, LockedJob], indices: IndexRanges | None, reason: Reason, message: str, actor: str) -> None:
    """What has not started is cancelled, what is live is told to stop."""
    live = attempts.lock_live_of_jobs(tx, list(open_jobs), indices)
    for job in open_jobs.values():
        pending = job.pending or IndexRanges()
        chosen = pending if indices is None else pending & indices
        if chosen:
            job.unqueue("cancelled", chosen)
        if gated := job.gated if indices is None else job.gated & indices:
            job.close("cancelled", gated)
        if indices is None and not job.cancelling:
            job.cancelling = job.dirty = True
            job.stop_reason, job.message = reason, message
    delayed: dict[int, list[int]] = {}
    for job_id, index in elements.take_delayed(tx, list(open_jobs), indices):
        delayed.setdefault(job_id, []).append(index)
    for job_id, waiting in delayed.items():
        open_jobs[job_id].finish("delayed", "cancelled", IndexRanges.of_indices(waiting))
    _stop(tx, open_jobs, live, Reason.CANCELLED_BY_USER, message, actor, None)


def _stop(
    tx: Transaction,
    jobs: dict[int, LockedJob],
    rows: Sequence[dict[str, Any]],
    reason: Reason,
    message: str | None,
    actor: str,
    grace_seconds: float | None,
    facts: Mapping[AttemptKey, Mapping[str, Any]] | None = None,
) -> int:
    """Order locked attempts to stop; a user's cancellation overrides an earlier reason. `grace_seconds` None: each job's own.

    `facts` are what the events of single attempts tell beside the reason; a `message` among them goes before `message`.
    """
    rows = [row for row in rows if row["stop_reason"] is None or (row["stop_reason"] != reason == Reason.CANCELLED_BY_USER)]
    if not rows:
        return 0
    versions = clusters.bump(tx, {row["cluster_id"] for row in rows})
    changes = []
    for row in rows:
        job, told = jobs[row["job_id"]], (facts or {}).get(attempts.key_of(row), {})
        why = told.get("message", message)
        if row["state"] != AttemptState.STOPPING:
            job.move(row["state"], "stopping")
            job.stop_reason = job.stop_reason or reason
            if told and not job.is_array:
                job.message = why
        changes.append(
            AttemptChange(
                attempts.key_of(row),
                AttemptState.STOPPING,
                stop_reason=reason,
                stop_grace_seconds=job.grace_seconds if grace_seconds is None else grace_seconds,
                message=why,
                desired_version=versions[row["cluster_id"]],
            )
        )
        identity = attempt_id(*attempts.key_of(row))
        body = {"version": row["version"] + 1, "state": "stopping", "index": row["index"], "attempt": row["number"], "reason": reason}
        body |= {"message": why} if why else {}
        body |= told
        tx.emit(Event("attempt.stopping", job.scope_path, f"attempt/{identity}", actor, body, job.id))
    attempts.write(tx, changes)
    return len(rows)


def _permission(principal: Principal, submitter_id: int) -> str:
    return "job:change" if submitter_id == principal.id else "job:change-any"
