"""Elements whose back-off has passed may start again."""

from __future__ import annotations

from bushel.control.elements import lock_jobs, write_jobs
from bushel.domain.lifecycle import JobState, Reason
from bushel.domain.ranges import IndexRanges
from bushel.store import elements
from bushel.store.database import Database
from bushel.store.leases import Lease

BATCH = 1000
ACTOR = "controller/backoff"


def step(database: Database, lease: Lease) -> int:
    """Move what is due from delayed to pending, at most one batch. How many elements."""
    with database.transaction() as tx:
        lease.require(tx)
        jobs = lock_jobs(tx, elements.due_jobs(tx, BATCH))
        due: dict[int, list[int]] = {}
        for job_id, index in elements.take_due(tx, list(jobs), BATCH):
            due.setdefault(job_id, []).append(index)
        for job_id, indices in due.items():
            job, ranges = jobs[job_id], IndexRanges.of_indices(indices)
            job.requeue("delayed", ranges)
            job.told["requeued"] = str(ranges)
            if job.state is JobState.QUEUED:
                job.reason = Reason.WAITING
        write_jobs(tx, jobs.values(), ACTOR)
        return sum(map(len, due.values()))
