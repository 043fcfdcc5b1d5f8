"""Jobs that wait for others: released when every condition is met, cancelled as soon as one cannot be.

Guarantees: a job that ends with dependents says so in its own row (`dependents_due`), in the transaction of its end; that row
is the queue of this controller, so nothing is forgotten however often it is cut off. A batch locks all that it touches in ascending
id, at once. Dependents that are cancelled here are themselves due next, so a chain of any length is walked step by step.

`success` is met by success; `failure` by any other end (failed, or cancelled); `end` by each.
"""

from __future__ import annotations

from bushel.control.elements import LockedJob, lock_jobs, write_jobs
from bushel.domain.failpoints import reach
from bushel.domain.ids import encode_job_id
from bushel.domain.lifecycle import JobState, Reason
from bushel.domain.ranges import IndexRanges
from bushel.store import dependencies
from bushel.store.database import Database
from bushel.store.leases import Lease

BATCH = 1000
ACTOR = "controller/dependencies"

HOW_IT_ENDED = {"succeeded": "succeeded", "failed": "failed", "cancelled": "was cancelled"}


def is_met(condition: str, ended_as: JobState) -> bool:
    """Whether a job that ended so meets the condition."""
    return condition == "end" or (condition == "success") == (ended_as is JobState.SUCCEEDED)


def step(database: Database, lease: Lease) -> int:
    """Tell dependents of ended jobs, at most one batch. How many were told or found to have been told."""
    with database.transaction() as tx:
        lease.require(tx)
        ended = dependencies.due(tx, BATCH)
        if not ended:
            return 0
        rows = dependencies.dependents(tx, ended, BATCH)
        jobs = lock_jobs(tx, {*ended, *(row["job_id"] for row in rows)}, with_pending=True)
        met = [row for row in rows if is_met(row["condition"], JobState(row["ended_as"]))]
        for job_id in dependencies.close(tx, [(row["job_id"], row["on_job_id"], row["condition"]) for row in met]):
            _release(jobs[job_id])
        broken = [row for row in rows if not is_met(row["condition"], JobState(row["ended_as"]))]
        closed = set(dependencies.close(tx, [(row["job_id"], row["on_job_id"], row["condition"]) for row in broken]))
        for row in broken:
            if row["job_id"] in closed and not jobs[row["job_id"]].cancelling:
                _cancel(
                    jobs[row["job_id"]],
                    f"it waited for the {row['condition']} of {encode_job_id(row['on_job_id'])}, which {HOW_IT_ENDED[row['ended_as']]}",
                )
        write_jobs(tx, jobs.values(), ACTOR)
        settled = dependencies.settle(tx, ended)
        reach("dependencies.before_commit")
    return settled + len(rows)


def _release(job: LockedJob) -> None:
    if not job.ended:
        job.unmet -= 1
        job.dirty = True
        if job.state is JobState.HELD and job.unmet > 0:
            job.told["unmet"] = str(job.unmet)


def _cancel(job: LockedJob, message: str) -> None:
    """A job that waits for a dependency has never started: all of it is pending."""
    if job.ended or job.counts["pending"] == 0:
        return
    job.cancelling = True
    job.cause = (Reason.DEPENDENCY_FAILED, message)
    job.unqueue("cancelled", job.pending or IndexRanges())
