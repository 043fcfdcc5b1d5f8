"""The jobs that may start, in lines: one line for each queue and shape class, ordered by priority and then by submission.

Guarantees: columns, some 40 bytes a waiting job; a batch of changes costs one pass over each line that it touches; all jobs
of a line fit or do not fit alike, so a plan asks once a line and not once a job.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from bushel.domain.ranges import IndexRanges
from bushel.scheduling.entities import ONE_ELEMENT, ReadyJob, ShapeClass
from bushel.scheduling.fleet import Integers

PRIORITY_HIGHEST = 1000
_JOB_BITS = 53


def order_key(priority: int, job_id: int) -> int:
    """Smaller goes first: higher priority, then the older job."""
    return (PRIORITY_HIGHEST - priority) << _JOB_BITS | job_id


def job_of_key(key: int) -> int:
    return key & ((1 << _JOB_BITS) - 1)


def priority_of_key(key: int) -> int:
    return PRIORITY_HIGHEST - (key >> _JOB_BITS)


def next_priority(key: int) -> int:
    """The smallest key of a lower priority."""
    return ((key >> _JOB_BITS) + 1) << _JOB_BITS


@dataclass(frozen=True, slots=True)
class Line:
    """`keys` ascending; `startable` and `submitted` beside them. The arrays are never written to, only replaced."""

    queue_id: int
    shape: ShapeClass
    keys: Integers
    startable: Integers
    submitted: Integers

    def __len__(self) -> int:
        return len(self.keys)


LineName = tuple[int, ShapeClass]
_NOTHING = np.zeros(0, np.int64)


class Lines:
    """All lines. `details` holds what only arrays and retried elements have."""

    def __init__(self) -> None:
        self.lines: dict[LineName, Line] = {}
        self.where: dict[int, tuple[LineName, int]] = {}  # job → its line and key
        self.details: dict[int, tuple[IndexRanges, Mapping[int, tuple[int, ...]]]] = {}

    def __len__(self) -> int:
        return len(self.where)

    def copy(self) -> Lines:
        """Shares the arrays; changes of one are not seen in the other."""
        twin = Lines()
        twin.lines, twin.where, twin.details = dict(self.lines), dict(self.where), dict(self.details)
        return twin

    def line_of(self, job_id: int) -> Line | None:
        found = self.where.get(job_id)
        return self.lines[found[0]] if found else None

    def job(self, job_id: int) -> ReadyJob | None:
        """The record that was put, or None when the job may not start."""
        found = self.where.get(job_id)
        if found is None:
            return None
        name, key = found
        line = self.lines[name]
        at = int(np.searchsorted(line.keys, key))
        pending, exclusions = self.details.get(job_id, (ONE_ELEMENT, {}))
        return ReadyJob(
            job_id,
            name[0],
            name[1],
            priority_of_key(key),
            float(line.submitted[at]) / 1e6,
            int(line.startable[at]),
            pending,
            exclusions,
        )

    def change(self, put: Iterable[ReadyJob], remove: Iterable[int] = ()) -> None:
        """Put these jobs, each in place of its earlier record, and take those away."""
        records = {job.id: job for job in put}
        gone: dict[LineName, list[int]] = {}
        for job_id in (*remove, *records):
            found = self.where.pop(job_id, None)
            if found is not None:
                gone.setdefault(found[0], []).append(found[1])
            self.details.pop(job_id, None)
        come: dict[LineName, list[tuple[int, int, int]]] = {}
        names: dict[LineName, LineName] = {}  # so that equal shapes are one object in memory
        for job in records.values():
            name = (job.queue_id, job.shape)
            line = self.lines.get(name)
            name = names.setdefault(name, (job.queue_id, line.shape) if line else name)
            key = order_key(job.priority, job.id)
            self.where[job.id] = (name, key)
            if job.exclusions or job.pending != ONE_ELEMENT:
                self.details[job.id] = (job.pending, job.exclusions)
            come.setdefault(name, []).append((key, job.startable, round(job.submitted_seconds * 1e6)))
        for name in {*gone, *come}:
            self._rewrite(name, gone.get(name, []), come.get(name, []))

    def _rewrite(self, name: LineName, gone: list[int], come: list[tuple[int, int, int]]) -> None:
        line = self.lines.get(name) or Line(*name, _NOTHING, _NOTHING, _NOTHING)
        if gone:
            kept = np.ones(len(line), np.bool_)
            kept[np.searchsorted(line.keys, np.array(gone, np.int64))] = False
            line = replace(line, keys=line.keys[kept], startable=line.startable[kept], submitted=line.submitted[kept])
        if come:
            keys, startable, submitted = np.array(sorted(come), np.int64).T
            at = np.searchsorted(line.keys, keys)
            line = replace(
                line,
                keys=np.insert(line.keys, at, keys),
                startable=np.insert(line.startable, at, startable),
                submitted=np.insert(line.submitted, at, submitted),
            )
        if len(line):
            self.lines[name] = line
        else:
            self.lines.pop(name, None)

    def contents(self) -> dict[int, ReadyJob | None]:
        return {job_id: self.job(job_id) for job_id in self.where}
