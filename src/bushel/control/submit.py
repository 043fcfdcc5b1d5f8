"""Submission: canonical documents become jobs, all of them or none.

Guarantees: one transaction holds the jobs, their labels and dependencies, an event for each, the audit row and the answer to the
idempotency key. What is checked is checked under locks that hold until the commit: a parent cannot end, and a queue's job quota
cannot be used up, between the check and the write. A dry run does all of it and rolls back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bushel.control.audit import audit
from bushel.control.dependencies import HOW_IT_ENDED, is_met
from bushel.control.placement_checks import check_places
from bushel.control.submission_checks import (
    Dependency,
    Destination,
    check_blobs,
    check_job_quotas,
    check_secrets,
    find_destinations,
    find_parents,
)
from bushel.domain.errors import InvalidDocument
from bushel.domain.ids import encode_job_id
from bushel.domain.job import PRIORITY_NORMAL
from bushel.domain.lifecycle import TERMINAL_JOB_STATES, ElementCounts, JobState, Reason, job_state
from bushel.domain.principal import Principal
from bushel.spec.fields import split_array
from bushel.spec.problems import MOST_PROBLEMS
from bushel.store import jobs
from bushel.store.database import SCHEDULE, Database, Event, Transaction

Place = tuple[str | int, ...]


@dataclass(slots=True)
class Draft:
    """One document on its way to a row. `place` is where it lies in the request."""

    place: Place
    spec: dict[str, Any]
    destination: Destination
    dependencies: list[Dependency] = field(default_factory=list)
    unmet: int = 0
    state: JobState = JobState.QUEUED
    reason: Reason | None = Reason.WAITING
    message: str | None = None


def submit(
    tx: Transaction,
    principal: Principal,
    documents: Sequence[dict[str, Any]],
    *,
    project: str | None = None,
    batch: bool = True,
    retry_of: int | None = None,
) -> list[dict[str, Any]]:
    """Make jobs of canonical documents. Rows as `store.jobs.find` gives them, in the order of the documents.

    `project` is where documents go that name none. `batch` says that the documents stood in a list, for the pointers of problems.

    Raises:
        InvalidDocument: a queue, secret, workdir, site, cluster or job that a document names is not there.
        NotFound: there is no such project, or the principal may not see it.
        Forbidden: it may not submit there, or not at that priority.
        QuotaExceeded: a queue would hold more jobs than it may.
    """
    places: list[Place] = [("jobs", number) for number in range(len(documents))] if batch else [()]
    problems = []
    destinations = find_destinations(tx, principal, documents, places, project, problems)
    drafts = [
        Draft(place, spec, destination)
        for place, spec, destination in zip(places, documents, destinations, strict=True)
        if destination is not None
    ]
    _check_priorities(principal, drafts)
    check_secrets(tx, drafts, problems)
    check_blobs(tx, drafts, problems)
    check_places(tx, drafts, problems)
    if problems:
        raise InvalidDocument(problems[:MOST_PROBLEMS])
    for draft in find_parents(tx, principal, drafts, problems):
        _settle(draft, drafts)
    if problems:
        raise InvalidDocument(problems[:MOST_PROBLEMS])
    for draft in drafts:
        if draft.state is not JobState.CANCELLED:
            _derive_state(draft)
    check_job_quotas(
        tx, Counter(draft.destination.queue_id for draft in drafts if draft.destination.limited and draft.state is not JobState.CANCELLED)
    )
    return _write(tx, principal, drafts, retry_of)


class _RolledBack(Exception):
    """Carries what would have happened out of the transaction."""


def dry_run(
    database: Database, principal: Principal, documents: Sequence[dict[str, Any]], *, project: str | None = None, batch: bool = True
) -> list[dict[str, Any]]:
    """What `submit` would do, every check included. The rows have no number."""
    rows: list[dict[str, Any]] = []
    try:
        with database.transaction() as tx:
            rows = submit(tx, principal, documents, project=project, batch=batch)
            tx.flush()
            raise _RolledBack
    except _RolledBack:
        return [{**row, "id": None} for row in rows]


def _check_priorities(principal: Principal, drafts: Sequence[Draft]) -> None:
    for path in {draft.destination.path for draft in drafts if draft.spec["priority"] > PRIORITY_NORMAL}:
        principal.may("job:priority-high", path, f"project {path}")


def _settle(draft: Draft, drafts: Sequence[Draft]) -> None:
    """Decide on the parents that have ended already. Parents in the same request were settled before."""
    for dependency in draft.dependencies:
        state = dependency.state if dependency.draft is None else drafts[dependency.draft].state
        dependency.met = is_met(dependency.condition, state) if state in TERMINAL_JOB_STATES else None
        if dependency.met is None:
            draft.unmet += 1
        elif not dependency.met:
            draft.state, draft.reason = JobState.CANCELLED, Reason.DEPENDENCY_FAILED
            draft.message = f"it waited for the {dependency.condition} of {dependency.name}, which {HOW_IT_ENDED[state]}"
            draft.unmet = 0
            return


def _derive_state(draft: Draft) -> None:
    held = draft.spec.get("hold", False)
    draft.state = job_state(ElementCounts(pending=1), held=held or draft.unmet > 0, cancelling=False)
    if held:
        draft.reason = Reason.USER_HOLD
    elif draft.unmet:
        draft.reason = Reason.DEPENDENCY


def _write(tx: Transaction, principal: Principal, drafts: Sequence[Draft], retry_of: int | None) -> list[dict[str, Any]]:
    rows = [_new_job(draft, retry_of) for draft in drafts]
    numbers = jobs.insert(tx, principal.id, rows)
    jobs.insert_dependencies(tx, list(_dependency_rows(drafts, numbers)))
    for draft, number in zip(drafts, numbers, strict=True):
        _emit(tx, principal, draft, number)
    for path, count in Counter(draft.destination.path for draft in drafts).items():
        mine = [encode_job_id(number) for draft, number in zip(drafts, numbers, strict=True) if draft.destination.path == path][:100]
        audit(tx, principal, "job:submit", f"job/{mine[0]}", path, count=count, jobs=mine)
    if any(draft.state is JobState.QUEUED for draft in drafts):  # nothing else could start
        tx.wake(SCHEDULE)
    return [_row(principal, draft, new, number) for draft, new, number in zip(drafts, rows, numbers, strict=True)]


def _new_job(draft: Draft, retry_of: int | None) -> jobs.NewJob:
    spec, destination = draft.spec, draft.destination
    ended = draft.state is JobState.CANCELLED
    count, pending = 1, "{[0,1)}"
    if "array" in spec:
        ranges, _ = split_array(spec["array"])
        count, pending = len(ranges), ranges.to_postgres()
    return jobs.NewJob(
        project_id=destination.project_id,
        queue_id=destination.queue_id,
        name=spec["name"],
        labels=spec.get("labels", {}),
        spec=spec,
        state=draft.state.value,
        reason=None if draft.reason is None else draft.reason.value,
        message=draft.message,
        priority=spec["priority"],
        user_hold=spec.get("hold", False),
        unmet=draft.unmet,
        element_count=count,
        pending="{}" if ended else pending,
        ended=ended,
        retry_of=retry_of,
    )


def _dependency_rows(drafts: Sequence[Draft], numbers: Sequence[int]) -> list[tuple[int, int, str, bool]]:
    return [
        (number, dependency.number if dependency.draft is None else numbers[dependency.draft], dependency.condition, bool(dependency.met))
        for draft, number in zip(drafts, numbers, strict=True)
        if draft.state is not JobState.CANCELLED
        for dependency in draft.dependencies
    ]


def _emit(tx: Transaction, principal: Principal, draft: Draft, number: int) -> None:
    ended = draft.state is JobState.CANCELLED
    submitted_as = JobState.HELD if ended else draft.state
    name = f"job/{encode_job_id(number)}"
    body = {"version": 1, "state": submitted_as.value, "name": draft.spec["name"], "queue": draft.destination.queue}
    if draft.reason is not None:
        body["reason"] = (Reason.DEPENDENCY if ended else draft.reason).value
    tx.emit(Event("job.submitted", draft.destination.path, name, principal.name, body, number))
    if ended:
        body = {"version": 1, "state": draft.state.value, "reason": Reason.DEPENDENCY_FAILED.value, "message": draft.message}
        tx.emit(Event("job.cancelled", draft.destination.path, name, principal.name, body, number))


def _row(principal: Principal, draft: Draft, new: jobs.NewJob, number: int) -> dict[str, Any]:
    """The row just written, without asking for it."""
    at: datetime = draft.destination.now
    return {
        **_UNTOUCHED,
        "id": number,
        "project_id": new.project_id,
        "queue_id": new.queue_id,
        "submitter_id": principal.id,
        "retry_of": new.retry_of,
        "name": new.name,
        "labels": new.labels,
        "spec": new.spec,
        "state": new.state,
        "reason": new.reason,
        "message": new.message,
        "priority": new.priority,
        "user_hold": new.user_hold,
        "unmet": new.unmet,
        "element_count": new.element_count,
        "pending_count": 0 if new.ended else new.element_count,
        "cancelled_count": new.element_count if new.ended else 0,
        "pending": new.pending,
        "submitted_at": at,
        "ended_at": at if new.ended else None,
        "is_array": "array" in new.spec,
        "project": draft.destination.path,
        "queue": draft.destination.queue,
        "submitter": principal.name,
    }


_UNTOUCHED: Mapping[str, Any] = {
    **dict.fromkeys(("delayed_count", "starting_count", "running_count", "stopping_count", "succeeded_count", "failed_count"), 0),
    "gated_count": 0,
    **dict.fromkeys(("exit_code", "failure_class", "progress", "started_at")),
    "version": 1,
}
