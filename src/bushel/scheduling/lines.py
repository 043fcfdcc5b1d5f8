"""The jobs that may start, in lines: one line for each queue and shape class, ordered by priority and then by age.

Guarantees: columns, some 50 bytes a waiting job and no object; a change costs the shorter side of its own line, and at either end of
a line nothing; many changes at once cost one pass. All jobs of a line fit or do not fit alike, so a plan asks once a line and
not once a job. Where a line lies in the pool depends on history and decides nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from bushel.domain.ranges import IndexRanges
from bushel.scheduling.classes import ShapeNumbers
from bushel.scheduling.entities import ONE_ELEMENT, ReadyJob, ShapeClass
from bushel.scheduling.entries import Entries
from bushel.scheduling.fleet import Integers
from bushel.scheduling.kernels.tables import AVOIDS_NODES, EXPECTED, GONE, KEY, POOL_ROWS, STARTABLE, SUBMITTED, SUBMITTER

PRIORITY_HIGHEST = 1000
_PRIORITY_BITS = 10
_JOB_BITS = 53
_NOT_KNOWN = -1
_REBUILD_PART = 8
"""A change of more than this part of all jobs is one pass over all of them."""


def order_key(priority: int, job_id: int) -> int:
    """Smaller goes first: higher priority, then the older job."""
    return (PRIORITY_HIGHEST - priority) << _JOB_BITS | job_id


def job_of_key(key: int) -> int:
    return key & ((1 << _JOB_BITS) - 1)


def priority_of_key(key: int) -> int:
    return PRIORITY_HIGHEST - (key >> _JOB_BITS)


class Filled(NamedTuple):
    """Where something waits."""

    lines: Integers
    queue: Integers  # of each of these lines, as a place in `known_queues`
    klass: Integers
    elements: Integers
    by_class: Integers  # elements of each class
    queues: frozenset[int]  # ids


class Lines:
    """All lines. Of line n the jobs are `pool[:, start[n] : start[n] + length[n]]`, ascending by key."""

    def __init__(self) -> None:
        self.shapes = ShapeNumbers()
        self.where: dict[int, int] = {}  # job → its line and priority
        self.details: dict[int, tuple[IndexRanges, Mapping[int, tuple[int, ...]]]] = {}  # what only arrays and retried elements have
        self.count = 0  # lines, empty ones included
        self.queue_ids: Integers = np.zeros(16, np.int64)
        self.klass = np.zeros(16, np.int32)
        self.queue = np.zeros(16, np.int32)  # a number of the queue: its place in `known_queues`
        self.known_queues: dict[int, int] = {}
        self.next = np.full(16, -1, np.int32)  # the queue's next line
        self.last_of_queue: dict[int, int] = {}  # where the queue's lines begin
        self.start: Integers = np.zeros(16, np.int64)
        self.length: Integers = np.zeros(16, np.int64)
        self.elements: Integers = np.zeros(16, np.int64)
        self.pool: Integers = np.zeros((POOL_ROWS, 64), np.int64)
        self._low: Integers = np.zeros(16, np.int64)  # the part of the pool that is the line's own
        self._high: Integers = np.zeros(16, np.int64)
        self._used = 0
        self._numbers: dict[tuple[int, int], int] = {}
        self._submitters: dict[str, int] = {}
        self._submitter_names: list[str] = []
        self._filled: Filled | None = None
        self.entries = Entries()

    def __len__(self) -> int:
        return len(self.where)

    def copy(self) -> Lines:
        """Changes of one are not seen in the other. Shapes keep their numbers."""
        twin = Lines()
        twin.__dict__.update(
            {name: value.copy() if isinstance(value, (dict, np.ndarray, Entries)) else value for name, value in self.__dict__.items()}
        )
        return twin

    # What is asked -------------------------------------------------------------------------------------------------

    def queues(self) -> set[int]:
        """Ids of queues in which something waits."""
        return set(self.filled().queues)

    def filled(self) -> Filled:
        """Remembered until something changes."""
        if self._filled is None:
            lines = np.flatnonzero(self.length[: self.count])
            queue, klass, elements = self.queue[lines].astype(np.int64), self.klass[lines].astype(np.int64), self.elements[lines]
            by_class = np.bincount(klass, weights=elements, minlength=len(self.shapes)).astype(np.int64)
            some = np.bincount(queue, minlength=len(self.known_queues)).tolist()
            queues = frozenset([queue_id for queue_id, count in zip(self.known_queues, some, strict=True) if count])
            self._filled = Filled(lines, queue, klass, elements, by_class, queues)
        return self._filled

    def number_of(self, queue_id: int, shape: ShapeClass) -> int | None:
        return self._numbers.get((queue_id, self.shapes.number(shape)))

    def of_queue(self, queue_id: int) -> Iterator[int]:
        number = self.last_of_queue.get(queue_id, -1)
        while number >= 0:
            yield number
            number = int(self.next[number])

    def ahead(self, queue_id: int, priority: int, job_id: int) -> int:
        """Jobs of the queue that go before this one."""
        key = order_key(priority, job_id)
        return sum(self._at(number, key) for number in self.of_queue(queue_id))

    def priority(self, job_id: int) -> int:
        """Of a job that may start."""
        return self.where[job_id] & (1 << _PRIORITY_BITS) - 1

    def job(self, job_id: int) -> ReadyJob | None:
        """The record that was put, or None when the job may not start."""
        found = self.where.get(job_id)
        if found is None:
            return None
        number, priority = found >> _PRIORITY_BITS, found & (1 << _PRIORITY_BITS) - 1
        column = self.pool[:, self.start[number] + self._at(number, order_key(priority, job_id))].tolist()
        pending, exclusions = self.details.get(job_id, (ONE_ELEMENT, {}))
        return ReadyJob(
            job_id,
            int(self.queue_ids[number]),
            self.shapes.shapes[self.klass[number]],
            priority,
            column[SUBMITTED] / 1e6,
            column[STARTABLE],
            pending,
            exclusions,
            None if column[EXPECTED] == _NOT_KNOWN else column[EXPECTED] / 1e6,
            self._submitter_names[column[SUBMITTER]],
        )

    def contents(self) -> dict[int, ReadyJob | None]:
        return {job_id: self.job(job_id) for job_id in self.where}

    # What is told --------------------------------------------------------------------------------------------------

    def change(self, put: Iterable[ReadyJob], remove: Iterable[int] = ()) -> None:
        """Put these jobs, each in place of its earlier record, and take those away."""
        self._filled = None
        records = {job.id: job for job in put}
        gone: list[tuple[int, int]] = []
        for job_id in (*remove, *records):
            found = self.where.pop(job_id, None)
            if found is not None:
                gone.append((found >> _PRIORITY_BITS, order_key(found & (1 << _PRIORITY_BITS) - 1, job_id)))
                self.details.pop(job_id, None)
        come: list[tuple[int, ...]] = []
        for job in records.values():
            number = self._line(job.queue_id, self.shapes.number(job.shape))
            self.where[job.id] = number << _PRIORITY_BITS | job.priority
            if job.exclusions or job.pending != ONE_ELEMENT:
                self.details[job.id] = (job.pending, job.exclusions)
            come.append((number, *self._column(job)))
        if len(gone) + len(come) > 64 + len(self.where) // _REBUILD_PART:
            self._rebuild(gone, come)
            return
        for number, key in gone:
            self._erase(number, key)
        for number, *column in come:
            self._insert(number, column)
        for number in {*(number for number, _ in gone), *(number for number, *_ in come)}:
            self.entries.put_key(number, int(self.pool[KEY, self.start[number]]) if self.length[number] else GONE)

    def _column(self, job: ReadyJob) -> tuple[int, ...]:
        submitter = self._submitters.get(job.submitter)
        if submitter is None:
            submitter = self._submitters[job.submitter] = len(self._submitter_names)
            self._submitter_names.append(job.submitter)
        expected = _NOT_KNOWN if job.expected_seconds is None else round(job.expected_seconds * 1e6)
        flags = AVOIDS_NODES if job.exclusions else 0
        return order_key(job.priority, job.id), job.startable, round(job.submitted_seconds * 1e6), expected, submitter, flags

    def _line(self, queue_id: int, klass: int) -> int:
        number = self._numbers.get((queue_id, klass))
        if number is None:
            if self.count == len(self.start):
                self._more_lines()
            number = self._numbers[queue_id, klass] = self.count
            self.count += 1
            self.queue_ids[number], self.klass[number] = queue_id, klass
            self.queue[number] = self.known_queues.setdefault(queue_id, len(self.known_queues))
            self.next[number] = self.last_of_queue.get(queue_id, -1)
            self.last_of_queue[queue_id] = number
            self.entries.add(number, int(self.queue[number]), klass)
        return number

    def _more_lines(self) -> None:
        for name in ("queue_ids", "klass", "queue", "next", "start", "length", "elements", "_low", "_high"):
            values = getattr(self, name)
            setattr(self, name, np.concatenate([values, np.full_like(values, -1 if name == "next" else 0)]))

    def _at(self, number: int, key: int) -> int:
        first = int(self.start[number])
        return bisect_left(self.pool[KEY], key, first, first + int(self.length[number])) - first

    def _erase(self, number: int, key: int) -> None:
        first, length = int(self.start[number]), int(self.length[number])
        at = first + self._at(number, key)
        self.elements[number] -= self.pool[STARTABLE, at]
        self.length[number] = length - 1
        if at - first < length // 2:
            self.pool[:, first + 1 : at + 1] = self.pool[:, first:at]
            self.start[number] = first + 1
        else:
            self.pool[:, at : first + length - 1] = self.pool[:, at + 1 : first + length]

    def _insert(self, number: int, column: list[int]) -> None:
        first, length = int(self.start[number]), int(self.length[number])
        at = first + self._at(number, column[KEY])
        stop = first + length
        if at - first < (length + 1) // 2 and first > self._low[number]:
            self.pool[:, first - 1 : at - 1] = self.pool[:, first:at]
            self.start[number] = first - 1
            at -= 1
        elif stop < self._high[number]:
            self.pool[:, at + 1 : stop + 1] = self.pool[:, at:stop]
        else:
            self._move(number)
            self._insert(number, column)
            return
        self.pool[:, at] = column
        self.length[number] = length + 1
        self.elements[number] += column[STARTABLE]

    def _move(self, number: int) -> None:
        """The line to the end of the pool, with room to grow at both ends."""
        first, length = int(self.start[number]), int(self.length[number])
        room = 2 * length + 4
        if self._used + room > self.pool.shape[1]:
            if self._used > 4 * len(self.where) + 4096:
                self._rebuild([], [])
                first = int(self.start[number])
            more = max(self.pool.shape[1], room)
            self.pool = np.concatenate([self.pool, np.zeros((POOL_ROWS, more), np.int64)], axis=1)
        low = self._used
        start = low + (room - length) // 4
        self.pool[:, start : start + length] = self.pool[:, first : first + length]
        self.start[number], self._low[number], self._high[number] = start, low, low + room
        self._used += room

    def _rebuild(self, gone: list[tuple[int, int]], come: list[tuple[int, ...]]) -> None:
        """All lines anew, one after the other."""
        held = np.repeat(np.arange(self.count), self.length[: self.count])
        places = _positions(self.start[: self.count], self.length[: self.count])
        jobs = self.pool[:, places]
        if gone:
            lost = np.zeros(len(places), np.bool_)
            offsets = np.cumsum(self.length[: self.count]) - self.length[: self.count]
            for number, key in gone:
                lost[offsets[number] + self._at(number, key)] = True
            held, jobs = held[~lost], jobs[:, ~lost]
        if come:
            new = np.array(come, np.int64).T
            held, jobs = np.concatenate([held, new[0]]), np.concatenate([jobs, new[1:]], axis=1)
            order = np.lexsort((jobs[KEY], held))
            held, jobs = held[order], jobs[:, order]
        length = np.bincount(held, minlength=self.count).astype(np.int64)
        room = length + length // 4 + 1
        self.length[: self.count] = length
        self._high[: self.count] = np.cumsum(room)
        self._low[: self.count] = self.start[: self.count] = self._high[: self.count] - room
        self.elements[: self.count] = np.bincount(held, weights=jobs[STARTABLE], minlength=self.count).astype(np.int64)
        self._used = int(room.sum())
        self.pool = np.zeros((POOL_ROWS, self._used + self._used // 4 + 64), np.int64)
        self.pool[:, _positions(self.start[: self.count], length)] = jobs
        self.entries.put_keys(np.where(length > 0, self.pool[KEY, np.minimum(self.start[: self.count], self.pool.shape[1] - 1)], GONE))


def _positions(start: Integers, length: Integers) -> Integers:
    """start[0], start[0] + 1, … of each line, one line after the other."""
    total = int(length.sum())
    offsets = np.cumsum(length) - length
    return np.arange(total) + np.repeat(start - offsets, length)
