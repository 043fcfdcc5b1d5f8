"""How fast an explanation is found, on one core: `python -m benchmarks.explain [--json FILE]`.

A full fleet of 5,000 nodes, 10,000 jobs that wait in 100 queues. An explanation is all that is counted, and every change that would start
the job, each planned, under a policy without preemption; CPU time. Beside it the same changes, each planned from scratch.
"""

from __future__ import annotations

import time
from dataclasses import replace

from benchmarks.plan import GIB, NOW, classes, fleet, jobs, queues
from benchmarks.report import Report, parse, percentile
from bushel.control.plan_reasons import waiting_reasons
from bushel.domain.job import Constraints, GroupShape
from bushel.domain.resources import ResourceRequest
from bushel.scheduling.alternatives import alternatives, trials
from bushel.scheduling.entities import LiveAttempt, ReadyJob, ShapeClass
from bushel.scheduling.kernels.mode import using
from bushel.scheduling.plan import Policy, plan
from bushel.scheduling.snapshot import Snapshot
from bushel.scheduling.workspace import Workspace

POLICY = Policy(starts_limit=20_000, patience_seconds=1e9)


def full_fleet(nodes: int, waiting: int) -> Snapshot:
    """As it is between two events: everything that found room runs; what is left waits, among it gangs, and jobs of another site."""
    snapshot = Snapshot()
    fleet(snapshot, nodes)
    leaves = queues(snapshot, 100)
    shapes = classes(100, 1)
    first = 1
    for more in (nodes * 12, waiting, waiting, waiting):
        snapshot.change_jobs(_varied(jobs(shapes, leaves, max(0, more - len(snapshot.lines)), 2 + first, first=first)))
        first += more
        while _start(snapshot):
            pass
        snapshot.change_jobs(remove=sorted(snapshot.lines.where)[waiting:])
    return snapshot


def _start(snapshot: Snapshot) -> int:
    made = plan(snapshot, NOW, replace(POLICY, starts_limit=10**6))
    for start in made.starts:
        job = snapshot.lines.job(start.job_id)
        assert job is not None
        snapshot.put_attempt(
            LiveAttempt(
                *(start.job_id, start.index, start.queue_id, start.runs),
                shape=job.shape,
                priority=job.priority,
                started_seconds=NOW.timestamp() - start.job_id * 7919 % 86_400,
                expected_seconds=90_000.0,
            )
        )
    snapshot.change_jobs(remove=[start.job_id for start in made.starts])
    return len(made.starts)


def _varied(waiting: list[ReadyJob]) -> list[ReadyJob]:
    """Every tenth is a gang, half of these in a rack; every tenth is for a site that is not there; every fifth is of low priority."""
    found: list[ReadyJob] = []
    for number, job in enumerate(waiting):
        shape = job.shape
        if number % 10 == 0:
            request = ResourceRequest(4000 * (1 + number // 10 % 4), 64 * GIB, 0, (1000, 4000, 8000)[number // 10 % 3])
            rack = Constraints(require="rack") if number % 20 == 0 else Constraints()
            shape = ShapeClass((GroupShape("main", 8, 8, request),), rack)
        if number % 10 == 5:
            shape = replace(shape, constraints=Constraints(sites=("s2",)))
        found.append(replace(job, shape=shape, priority=250 if number % 5 == 0 else 500))
    return found


def explanations(report: Report, nodes: int, waiting: int, asked: int) -> None:
    snapshot = full_fleet(nodes, waiting)
    made = plan(snapshot, NOW, POLICY)
    report.say(f"{len(snapshot.fleet.attempts):,} live, {len(snapshot.lines):,} wait, {len(made.starts):,} would start")
    starting = made.starting_jobs
    waits = [job_id for job_id in sorted(snapshot.lines.where) if job_id not in starting]
    chosen = waits[:: max(1, len(waits) // asked)][:asked]
    times: list[float] = []
    found = tried = 0
    for number, job_id in enumerate(chosen):
        job = snapshot.lines.job(job_id)
        assert job is not None
        began = time.process_time()
        made = plan(snapshot, NOW, POLICY)
        waiting_reasons(made, job)
        ways = alternatives(made, job, NOW, POLICY)
        if number:  # the first one also measures every class for the first time
            times.append(time.process_time() - began)
        found += len(ways)
    report.say(f"{found / len(chosen):.1f} changes a job would start it")
    scratch: list[float] = []
    for job_id in chosen[:: max(1, len(chosen) // 6)]:
        job = snapshot.lines.job(job_id)
        assert job is not None
        began = time.process_time()
        snapshot.workspace = Workspace()
        made = plan(snapshot, NOW, POLICY)
        for trial in trials(made, job, NOW):
            with trial.applied(snapshot) as other:
                other.workspace = Workspace()
                plan(other, NOW, POLICY)
                tried += 1
        scratch.append(time.process_time() - began)
    report.say(f"{tried} plans from scratch for {len(scratch)} jobs")
    slow = percentile(scratch, 50) * 1e3
    report.add("an explanation, 5,000 nodes, 10,000 waiting: median", percentile(times, 50) * 1e3, "ms", "each plan from scratch", slow)
    report.add("slowest of them", max(times) * 1e3, "ms", "must", 200.0)


if __name__ == "__main__":
    options = parse(__doc__ or "")
    report = Report()
    with using(compiled=True):
        explanations(report, 5000, 10_000, 60)
    report.finish(options.json)
