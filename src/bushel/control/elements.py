"""Moving elements of jobs: the one way in which reports, cancellation, back-off and lost leases change a job.

Guarantees: a job's state is derived from where its elements are, after all moves of the transaction, and checked against the table
of transitions; each state that it takes is an event in the same transaction; an ended job is never changed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from psycopg.types.json import Jsonb

from bushel.domain.ids import encode_job_id
from bushel.domain.job import GRACE_DEFAULT_SECONDS
from bushel.domain.lifecycle import (
    TERMINAL_JOB_STATES,
    ElementCounts,
    FailureClass,
    JobState,
    Reason,
    check_job,
    job_state,
)
from bushel.domain.ranges import IndexRanges
from bushel.domain.retry import RetryPolicy
from bushel.store import elements
from bushel.store.database import SCHEDULE, Event, Transaction

DEPENDENCIES = "dependencies"
"""Topic: a job ended for which others wait."""

PIPELINES = "pipelines"
"""Topic: elements of a run finished, or it was changed."""


@dataclass(slots=True)
class LockedJob:
    """A job whose row this transaction holds, and what becomes of it. `counts` is where its elements are, by `elements.PLACES`."""

    id: int
    scope_path: str
    state: JobState
    reason: str | None
    message: str | None
    user_hold: bool
    unmet: int
    cancelling: bool
    is_array: bool
    submitter_id: int
    counts: dict[str, int]
    exit_code: int | None
    failure_class: str | None
    version: int
    policy: RetryPolicy
    grace_seconds: float
    pending_text: str | None
    gated_text: str | None  # of a stage of a run
    is_stage: bool
    first_failure: dict[str, str | None] | None
    progress: Jsonb | None = None
    dirty: bool = False
    started: bool = False
    stop_reason: str | None = None
    cause: tuple[str, str] | None = None  # reason and message of a cancellation that no person asked for
    note: str | None = None  # why it went back to waiting
    told: dict[str, str] = field(default_factory=dict)  # moves that a command made, for `job.changed`
    _pending: IndexRanges | None = None
    _gated: IndexRanges | None = None
    _less: list[tuple[int, int]] = field(default_factory=list)
    _more: list[tuple[int, int]] = field(default_factory=list)
    _opened: list[tuple[int, int]] = field(default_factory=list)
    _finished: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    @property
    def pending(self) -> IndexRanges | None:
        """What could start when the job was locked; None where that was not read."""
        if self._pending is None and self.pending_text is not None:
            self._pending = IndexRanges.from_postgres(self.pending_text)
        return self._pending

    @property
    def gated(self) -> IndexRanges:
        """What waited for what it is made of when the job was locked. Of most jobs of a step nobody asks, and there may be much of it."""
        if self._gated is None:
            self._gated = IndexRanges.from_postgres(self.gated_text or "")
        return self._gated

    @property
    def ended(self) -> bool:
        return self.state in TERMINAL_JOB_STATES

    def move(self, source: str, target: str, count: int = 1) -> None:
        """Count `count` elements out of one place into another."""
        self.counts[source] -= count
        self.counts[target] += count
        self.dirty = True

    def requeue(self, source: str, indices: IndexRanges) -> None:
        """These may start again."""
        self.move(source, "pending", len(indices))
        self._more.extend(indices.parts)

    def start(self, indices: IndexRanges) -> None:
        """These have an attempt from now on."""
        self._less.extend(indices.parts)
        self.move("pending", "starting", len(indices))

    def unqueue(self, target: str, indices: IndexRanges) -> None:
        """These, which could have started, are finished as `target`."""
        self._less.extend(indices.parts)
        self.finish("pending", target, indices)

    def open(self, indices: IndexRanges) -> None:
        """These have what they are made of, and may start."""
        self._opened.extend(indices.parts)
        self.requeue("gated", indices)

    def close(self, target: str, indices: IndexRanges) -> None:
        """These, which waited for what they are made of, are finished as `target`."""
        self._opened.extend(indices.parts)
        self.finish("gated", target, indices)

    def finish(self, source: str, target: str, indices: IndexRanges) -> None:
        """These will not move again."""
        self.move(source, target, len(indices))
        self._finished.setdefault(target, []).extend(indices.parts)

    def finished_now(self, place: str) -> IndexRanges:
        """What this transaction finished as `place`."""
        return IndexRanges.of(self._finished.get(place, ()))

    def fail(self, reason: str | None, message: str | None, exit_code: int | None, failure: str | None) -> None:
        """What the job will say of itself; the first failure of an array stands for all."""
        if self.first_failure is None:
            self.first_failure = {"reason": reason, "message": message}
            self.exit_code, self.failure_class = exit_code, failure

    def target_state(self) -> JobState:
        return job_state(ElementCounts(**self.counts), held=self.user_hold or self.unmet > 0, cancelling=self.cancelling)

    def pending_change(self) -> tuple[str, str]:
        return IndexRanges.of(self._less).to_postgres(), IndexRanges.of(self._more).to_postgres()

    def gated_change(self) -> str:
        return IndexRanges.of(self._opened).to_postgres()

    def news(self) -> tuple[int, IndexRanges, IndexRanges, IndexRanges] | None:
        """For the controller of runs."""
        if not (self.is_stage and self._finished):
            return None
        return self.id, self.finished_now("succeeded"), self.finished_now("failed"), self.finished_now("cancelled")

    def results(self) -> Iterator[tuple[int, int, IndexRanges, IndexRanges, IndexRanges]]:
        """Rows for `elements.add_results`."""
        if not self.is_array:
            return
        places = [elements.by_chunk(self.finished_now(place)) for place in ("succeeded", "failed", "cancelled")]
        for chunk in sorted(set().union(*places)):
            succeeded, failed, cancelled = (place.get(chunk, IndexRanges()) for place in places)
            yield self.id, chunk, succeeded, failed, cancelled


def lock_jobs(tx: Transaction, job_ids: Iterable[int], *, with_pending: bool = False) -> dict[int, LockedJob]:
    """These jobs, locked in ascending id. Call it once in a transaction, before any attempt or cluster is locked."""
    return locked_jobs(elements.lock(tx, job_ids, with_pending=with_pending))


def locked_jobs(rows: Iterable[dict[str, Any]]) -> dict[int, LockedJob]:
    """Of rows that the caller has locked by `elements.lock_of_runs`."""
    return {row["id"]: _locked(row) for row in rows}


def write_jobs(tx: Transaction, jobs: Iterable[LockedJob], actor: str) -> None:
    """Derive the states of those that changed, check them, write them, say so.

    Raises:
        Conflict: a step that the table of transitions does not have; nothing of the transaction may be kept.
    """
    changed = [job for job in jobs if job.dirty]
    if not changed:
        return
    rows = [_settle(tx, job, actor) for job in changed]
    elements.add_results(tx, [result for job in changed for result in job.results()])
    if news := [news for job in changed if (news := job.news())]:
        elements.add_news(tx, news)
        tx.wake(PIPELINES)
    if elements.write(tx, list(zip(*rows, strict=True))):  # last, as it alone is answered: where statements travel together, once
        tx.wake(DEPENDENCIES)
    tx.wake(SCHEDULE)


def job_event(kind: str, job: LockedJob, actor: str, **body: Any) -> Event:
    """`body` without what is None."""
    return Event(
        kind,
        job.scope_path,
        f"job/{encode_job_id(job.id)}",
        actor,
        {name: value for name, value in body.items() if value is not None},
        job.id,
    )


def _settle(tx: Transaction, job: LockedJob, actor: str) -> tuple[Any, ...]:
    before, after = job.state, job.target_state()
    check_job(before, after)
    job.version += 1
    if after is not before:
        job.reason, job.message = _why(job, after)
        job.started = job.started or after is JobState.RUNNING
    job.state = after
    if after is not before or job.told:
        tx.emit(
            job_event(
                f"job.{after}" if after is not before else "job.changed",
                job,
                actor,
                version=job.version,
                state=after,
                reason=job.reason,
                message=job.message,
                exit_code=job.exit_code if job.ended else None,
                failure_class=job.failure_class if job.ended else None,
                counts={place: count for place, count in job.counts.items() if count} if job.is_array else None,
                **job.told,
            )
        )
    less, more = job.pending_change()
    return (
        *(job.id, after, job.reason, job.message, job.cancelling, job.unmet, less, more, job.gated_change()),
        *(job.counts[place] for place in elements.PLACES),
        *(job.exit_code, job.failure_class, job.progress, Jsonb(job.first_failure) if job.first_failure else None, job.started, job.ended),
    )


def _why(job: LockedJob, after: JobState) -> tuple[str | None, str | None]:
    """Reason and message of the state that the job enters."""
    match after:
        case JobState.HELD:
            if not job.user_hold and not job.counts["pending"] and not job.counts["delayed"]:
                return Reason.UPSTREAM, None
            return Reason.USER_HOLD if job.user_hold else Reason.DEPENDENCY, None
        case JobState.QUEUED:
            return Reason.WAITING if job.counts["pending"] else Reason.BACKOFF, job.note
        case JobState.STOPPING:
            return job.stop_reason or job.reason, job.message
        case JobState.FAILED:
            failure = job.first_failure or {}
            reason, message = failure.get("reason"), failure.get("message")
            if job.is_array:
                message = f"{job.counts['failed']} of {sum(job.counts.values())} indices failed; the first: {message or reason}"
            return reason, message
        case JobState.CANCELLED:
            by_itself = (
                Reason.DEPENDENCY_FAILED if job.is_stage else Reason.CANCELLED_BY_USER
            )  # of a stage: some partitions had no upstream
            reason = None if job.reason == Reason.UPSTREAM else job.reason
            return job.cause or (job.stop_reason or reason or by_itself, job.message)
    return None, None


def _locked(row: dict[str, Any]) -> LockedJob:
    return LockedJob(
        id=row["id"],
        scope_path=row["scope_path"],
        state=JobState(row["state"]),
        reason=row["reason"],
        message=row["message"],
        user_hold=row["user_hold"],
        unmet=row["unmet"],
        cancelling=row["cancelling"],
        is_array=row["is_array"],
        submitter_id=row["submitter_id"],
        counts={place: row[f"{place}_count"] for place in elements.PLACES},
        exit_code=row["exit_code"],
        failure_class=row["failure_class"],
        version=row["version"],
        policy=_policy(row["retry"] or {}),
        grace_seconds=float(row["grace_seconds"] if row["grace_seconds"] is not None else GRACE_DEFAULT_SECONDS),
        first_failure=row["first_failure"],
        gated_text=row["gated"],
        is_stage=row["is_stage"],
        pending_text=row["pending"],
    )


def _policy(retry: dict[str, Any]) -> RetryPolicy:
    """Of a canonical document."""
    default = RetryPolicy()
    return RetryPolicy(
        attempts=retry.get("attempts", default.attempts),
        on=frozenset(FailureClass(name) for name in retry["on"]) if "on" in retry else default.on,
        backoff_seconds=float(retry.get("backoff", default.backoff_seconds)),
    )
