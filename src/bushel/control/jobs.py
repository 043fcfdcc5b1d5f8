"""Finding a job, and what its people do to it: hold, release, retry.

Guarantees: a job that the principal may not read is not there; own jobs need `job:change`, those of others `job:change-any`; doing the
same again changes nothing; what cannot be done says so and what can. Cancelling is `control.cancel`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bushel.control.audit import audit
from bushel.control.elements import LockedJob, lock_jobs, write_jobs
from bushel.control.submit import submit
from bushel.domain.errors import Conflict, NotFound
from bushel.domain.ids import encode_job_id
from bushel.domain.lifecycle import JobState
from bushel.domain.principal import Principal
from bushel.domain.ranges import IndexRanges
from bushel.spec.fields import split_array
from bushel.store import jobs
from bushel.store.database import Transaction

MOST_RANGES = 10_000
"""Most separate ranges of indices in a document."""


def find_job(tx: Transaction, principal: Principal, reference: str, project: str | None = None) -> dict[str, Any]:
    """The job with that id, or the newest of that name in the projects that the principal may read (in `project` alone if given).

    Raises:
        NotFound: there is none.
    """
    number = jobs.number_of(reference)
    row = None if number is None else jobs.find(tx, number)
    if row is not None and principal.can("job:read", row["project"]):
        return row
    projects = jobs.projects_below(tx, principal.paths("job:read"), project)
    number = jobs.newest_named(tx, [place["id"] for place in projects], reference)
    row = None if number is None else jobs.find(tx, number)
    if row is None:
        raise NotFound(f"there is no job {reference}, or you may not see it", suggestion="bushel ls")
    return row


def indices_of(job: Mapping[str, Any]) -> IndexRanges:
    """The indices that a job has: those of its array, or the one index 0."""
    text = job["spec"].get("array")
    return split_array(text)[0] if text else IndexRanges(((0, 1),))


def insist_on_indices(job: Mapping[str, Any], wanted: IndexRanges) -> None:
    """
    Raises:
        NotFound: it does not have all of them.
    """
    if missing := wanted - indices_of(job):
        which = f"index {missing}" if len(missing) == 1 else f"indices {missing}"
        raise NotFound(f"job {encode_job_id(job['id'])} has no {which[:200]}")


def insist_may_change(principal: Principal, job: Mapping[str, Any]) -> None:
    """
    Raises:
        Forbidden: it is somebody else's job, or one may only look here.
    """
    permission = "job:change" if job["submitter_id"] == principal.id else "job:change-any"
    principal.may(permission, job["project"], f"job {encode_job_id(job['id'])}")


def hold(tx: Transaction, principal: Principal, reference: str, project: str | None = None) -> dict[str, Any]:
    """What has not started stays where it is; what runs goes on.

    Raises:
        Conflict: it has ended, or nothing of it is left to start.
    """
    job = _lock(tx, principal, reference, project)
    if job.user_hold:
        return _read(tx, job)
    if job.ended:
        raise Conflict(f"job {encode_job_id(job.id)} has ended: {job.state}")
    if not job.counts["pending"] and not job.counts["delayed"]:
        raise Conflict(f"job {encode_job_id(job.id)} is {job.state}: nothing of it is left to hold", suggestion="bushel cancel stops it")
    return _set_hold(tx, principal, job, True)


def release(tx: Transaction, principal: Principal, reference: str, project: str | None = None) -> dict[str, Any]:
    """Let a held job start. One that waits for other jobs goes on waiting for them.

    Raises:
        Conflict: it has ended.
    """
    job = _lock(tx, principal, reference, project)
    if job.ended:
        raise Conflict(f"job {encode_job_id(job.id)} has ended: {job.state}")
    if not job.user_hold:
        return _read(tx, job)
    return _set_hold(tx, principal, job, False)


def _lock(tx: Transaction, principal: Principal, reference: str, project: str | None) -> LockedJob:
    row = find_job(tx, principal, reference, project)
    insist_may_change(principal, row)
    return lock_jobs(tx, [row["id"]])[row["id"]]


def _read(tx: Transaction, job: LockedJob) -> dict[str, Any]:
    row = jobs.find(tx, job.id)
    if row is None:
        raise NotFound(f"there is no job {encode_job_id(job.id)}")
    return row


def _set_hold(tx: Transaction, principal: Principal, job: LockedJob, held: bool) -> dict[str, Any]:
    jobs.set_hold(tx, job.id, held)
    job.user_hold = held
    job.dirty = True
    job.told["user_hold"] = "true" if held else "false"
    write_jobs(tx, [job], principal.name)
    audit(tx, principal, "job:hold" if held else "job:release", f"job/{encode_job_id(job.id)}", job.scope_path)
    return _read(tx, job)


def retry(tx: Transaction, principal: Principal, reference: str, *, only: str = "failed", project: str | None = None) -> dict[str, Any]:
    """A new job of the same document. Of an array, `failed` takes the indices that failed, or, if none did, that were cancelled.

    Raises:
        Conflict: it has not ended, or nothing of it failed.
    """
    row = find_job(tx, principal, reference, project)
    insist_may_change(principal, row)
    name = encode_job_id(row["id"])
    if "stage" in row["spec"]:
        stage = row["spec"]["stage"]
        raise Conflict(
            f"job {name} is stage {stage['stage']} of run {stage['run']} of {stage['pipeline']}",
            suggestion=f"bushel pipeline rerun {stage['pipeline']} --failed",
        )
    if row["ended_at"] is None:
        raise Conflict(f"job {name} has not ended: it is {row['state']}", suggestion=f"bushel cancel {name}")
    if only == "failed" and row["state"] == JobState.SUCCEEDED:
        raise Conflict(f"job {name} succeeded: nothing of it failed", suggestion=f"bushel retry {name} --all")
    spec = {key: value for key, value in row["spec"].items() if key not in ("after", "hold")}
    spec["queue"] = row["queue"]
    if row["is_array"] and only == "failed":
        spec["array"] = _array_again(tx, row)
    return submit(tx, principal, [spec], project=row["project"], batch=False, retry_of=row["id"])[0]


def _array_again(tx: Transaction, row: Mapping[str, Any]) -> str:
    """The array of what did not succeed, with the old limit of how many may be live."""
    results = jobs.result_ranges(tx, row["id"])
    indices, limit = split_array(row["spec"]["array"])
    wanted = IndexRanges.from_postgres(results["failed" if row["failed_count"] else "cancelled"] or "")
    again = wanted or indices
    if len(again.parts) > MOST_RANGES:
        raise Conflict(
            f"what is to be retried is {len(again.parts)} separate ranges of indices; the most is {MOST_RANGES}",
            suggestion="bushel retry --all",
        )
    return f"{again}%{limit}" if limit else str(again)
