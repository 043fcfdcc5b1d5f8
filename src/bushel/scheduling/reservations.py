"""When and where a job that does not fit now will start, and what may start before it without being in its way.

Guarantees: a reserved start is never pushed later by a job that was let ahead and keeps to its estimate; a maintenance window is a
reservation of its whole node and nothing is planned into it; the profile is a function of what holds the nodes and of when that ends,
not of the order in which it was told.

What is free is a step function of time on every node (Mu'alem and Feitelson 2001). Conservative backfill reserves for each of the first
`conservative` blocked jobs of a queue, and EASY goes on with those behind, which reserve nothing and may use only what is left free
at every moment of their run. The start is the earliest moment at which one run of the profile holds the whole gang.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class Piece:
    """`tasks` tasks on the node at `row`."""

    row: int
    tasks: int


@dataclass(frozen=True, slots=True)
class Reserved:
    """Where a gang will run, from `start_seconds` on, and until when it is expected to."""

    start_seconds: float
    end_seconds: float
    pieces: tuple[Piece, ...]


class Profile:
    """What is free on every node from now on. `free` is resource × node at `now_seconds`; amounts only.

    Times are cut at each moment when something begins or ends; between two of them nothing changes.
    """

    def __init__(self, now_seconds: float, free: Integers) -> None:
        self.times: list[float] = [now_seconds]
        self.steps: list[Integers] = [free.astype(np.int64, copy=True)]

    @property
    def now_seconds(self) -> float:
        return self.times[0]

    def ends(self, held: Iterable[tuple[float, int, Integers]], *, most_moments: int = 64) -> None:
        """What runs now: the moment at which it is expected to end, the node, what it holds there. What is late ends now.

        With more than `most_moments` of them, each is taken to end at the next of that many: later, so no promise is broken by it.
        """
        ordered = sorted((one for one in held if one[0] < FOREVER), key=lambda one: (one[0], one[1]))
        moments = sorted({max(self.times[0], at) for at, _, _ in ordered})
        if len(moments) > most_moments:
            moments = [moments[(number + 1) * len(moments) // most_moments - 1] for number in range(most_moments)]
        for at, row, amounts in ordered:
            self._add(moments[bisect.bisect_left(moments, max(self.times[0], at))], FOREVER, row, amounts)

    def close(self, start_seconds: float, end_seconds: float, row: int) -> None:
        """A maintenance window: nothing is free on the node in it, so nothing is planned that would reach into it."""
        first, last = self._cut(start_seconds), self._cut(end_seconds)
        for step in self.steps[first:last]:
            step[:, row] = np.minimum(step[:, row], 0)

    def take(self, start_seconds: float, end_seconds: float, pieces: Sequence[Piece], request: Integers) -> None:
        for piece in pieces:
            self._add(start_seconds, end_seconds, piece.row, -request * piece.tasks)

    def earliest(self, request: Integers, tasks: int, seconds: float, rows: Integers, *, most_steps: int | None = None) -> Reserved | None:
        """The first moment from which `tasks` equal tasks fit on `rows` for `seconds`. None: at no moment."""
        for at, moment in list(enumerate(self.times))[:most_steps]:
            found = self._at(at, moment, request, tasks, seconds, rows)
            if found is not None:
                return found
        return None

    def now(self, request: Integers, tasks: int, seconds: float, rows: Integers) -> Reserved | None:
        """As `earliest`, but only from now: for a job that may go ahead if it is in nobody's way."""
        return self._at(0, self.times[0], request, tasks, seconds, rows)

    def _at(self, at: int, moment: float, request: Integers, tasks: int, seconds: float, rows: Integers) -> Reserved | None:
        end = moment + seconds
        needed = request > 0
        left = self.steps[at][:, rows].copy()
        for number in range(at + 1, len(self.times)):
            if self.times[number] >= end:
                break
            np.minimum(left, self.steps[number][:, rows], out=left)
        if not needed.any():
            counts = np.full(len(rows), tasks, np.int64)
        else:
            counts = np.maximum(0, (left[needed] // request[needed, None]).min(axis=0))
        if int(counts.sum()) < tasks:
            return None
        pieces: list[Piece] = []
        for position in np.argsort(-counts, kind="stable"):  # as few nodes as can be, the first of equals
            count = int(min(tasks, counts[position]))
            if count <= 0:
                break
            pieces.append(Piece(int(rows[position]), count))
            tasks -= count
        return Reserved(moment, end, tuple(pieces))

    def _add(self, start_seconds: float, end_seconds: float, row: int, amounts: Integers) -> None:
        first = self._cut(max(start_seconds, self.times[0]))
        last = self._cut(end_seconds)
        for step in self.steps[first:last]:
            step[:, row] += amounts

    def _cut(self, moment: float) -> int:
        """The number of the step that begins at `moment`, made if there is none."""
        if moment <= self.times[0]:
            return 0
        if moment >= FOREVER:
            return len(self.times)
        at = bisect.bisect_left(self.times, moment)
        if at == len(self.times) or self.times[at] != moment:
            self.times.insert(at, moment)
            self.steps.insert(at, self.steps[at - 1].copy())
        return at


@dataclass(frozen=True, slots=True)
class Blocked:
    """A waiting gang of equal tasks, in the order in which it is to be served. `seconds` is how long it is expected to run."""

    name: int
    queue: int
    request: Integers
    tasks: int
    seconds: float
    rows: Integers


def reserve(profile: Profile, waiting: Iterable[Blocked], *, conservative: int = 1) -> tuple[dict[int, Reserved], dict[int, Reserved]]:
    """Who starts now, and for whom nodes are reserved: `conservative` of each queue. Both are taken from `profile`.

    With one, this is EASY in every queue; with no bound, conservative backfill. Whoever starts leaves every reservation before and
    after it untouched, for it is placed in what they leave free.
    """
    starts: dict[int, Reserved] = {}
    reserved: dict[int, Reserved] = {}
    count: dict[int, int] = {}
    for job in waiting:
        found = profile.now(job.request, job.tasks, job.seconds, job.rows)
        if found is not None:
            starts[job.name] = found
        elif count.get(job.queue, 0) < conservative:
            found = profile.earliest(job.request, job.tasks, job.seconds, job.rows)
            if found is None:
                continue
            count[job.queue] = count.get(job.queue, 0) + 1
            reserved[job.name] = found
        else:
            continue
        profile.take(found.start_seconds, found.end_seconds, found.pieces, job.request)
    return starts, reserved
