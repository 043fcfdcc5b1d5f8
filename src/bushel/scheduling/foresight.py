"""What the next plan would do with the places that this one frees, so that nobody is stopped for nothing.

Guarantees: of a plan's evictions none is left that the next plan would start again in the same place, and for a claim beyond what its
queue is entitled to, nobody is stopped unless that claim starts with the next plan. The next plan is not guessed: it is made, in a
snapshot in which the evicted wait again. Those that would come back are spared and claims that would not start are refused, and the plan
is made again, a few times at most; if there are still some, it stops nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from bushel.domain.ranges import IndexRanges
from bushel.scheduling.entities import LiveAttempt, ReadyJob, Run
from bushel.scheduling.reclaim import Barred, Reclaimed
from bushel.scheduling.snapshot import Snapshot

if TYPE_CHECKING:
    from bushel.scheduling.plan import Plan

ROUNDS = 4
"""So often a plan is made with less than it would stop; the next stops nobody."""


@contextmanager
def following(planned: Plan, now_seconds: float) -> Iterator[Snapshot]:
    """What the next plan sees if all that starts has started and all that is evicted waits again. Until then the snapshot is not used."""
    snapshot = planned.snapshot
    jobs: dict[int, ReadyJob] = {}
    ended: set[int] = set()
    started: list[LiveAttempt] = []
    for job_id, starts in planned.starting_jobs.items():
        job = snapshot.lines.job(job_id)
        if job is None:
            continue
        left = {*job.pending} - {start.index for start in starts}
        if job.startable > len(starts) and left:
            jobs[job_id] = replace(job, startable=job.startable - len(starts), pending=IndexRanges.of_indices(left))
        else:
            ended.add(job_id)
        started += [LiveAttempt(job_id, start.index, start.queue_id, start.runs, job.shape, job.priority, now_seconds) for start in starts]
    stopped = [(eviction.job_id, eviction.index) for eviction in planned.evictions]
    for job_id, index in stopped:
        attempt = snapshot.fleet.attempts[job_id, index]
        job = jobs.get(job_id) or (None if job_id in ended else snapshot.lines.job(job_id))
        if job is not None:
            jobs[job_id] = replace(job, startable=job.startable + 1, pending=IndexRanges.of_indices({*job.pending, index}))
        elif attempt.shape is not None:
            one = IndexRanges.of_indices([index])
            jobs[job_id] = ReadyJob(job_id, attempt.queue_id, attempt.shape, attempt.priority, now_seconds, 1, one)
    with snapshot.supposing(jobs.values(), stopped, remove=ended - jobs.keys(), started=started) as changed:
        yield changed


def pointless_in(then: Plan, snapshot: Snapshot, reclaimed: Reclaimed) -> Barred:
    """The evicted that the next plan puts where they were in `snapshot`, and claims that nothing comes of."""
    stopped, starting = set(reclaimed.stopped), then.starting_jobs
    back = [
        (start.job_id, start.index)
        for job_id, _ in stopped
        for start in starting.get(job_id, ())
        if (start.job_id, start.index) in stopped
        and _places(start.runs) == _places(snapshot.fleet.attempts[start.job_id, start.index].runs)
    ]
    idle = [
        (job_id, index)
        for job_id, index in (reclaimed.beyond if then.complete else ())
        if index not in {start.index for start in starting.get(job_id, ())}
    ]
    return Barred(frozenset(back), frozenset(idle))


def _places(runs: Iterable[Run]) -> dict[tuple[str, int], int]:
    found: dict[tuple[str, int], int] = {}
    for run in runs:
        found[run.group, run.node_id] = found.get((run.group, run.node_id), 0) + run.stop - run.first
    return found
