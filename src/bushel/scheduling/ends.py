"""Whose end makes room for a waiting job.

Guarantees: of those that hold something where it may run, or of the quota in its way, the fewest of the earliest ends after which one
element of it fits beside everything else that runs. Only what is expected to end is counted on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from bushel.scheduling.decisions import Cause, Waiting
from bushel.scheduling.entities import LiveAttempt, ReadyJob
from bushel.scheduling.feasibility import choices_of
from bushel.scheduling.gangs import GangPlacement, place_gang
from bushel.scheduling.plan import Plan
from bushel.scheduling.quota import charge_of
from bushel.scheduling.victims import Holdings, without

Remaining = Callable[[Sequence[LiveAttempt]], Sequence[float | None]]
"""Seconds until each of these is expected to end; None where nothing is known."""

_LOOKED_AT = (128, 512, 1024)
"""How many of the nearest ends are looked at: more only when these are not enough."""
_TOGETHER = 64
"""Most ends that a job is said to wait for."""


@dataclass(frozen=True, slots=True)
class Ends:
    """`keys` end one after the other, the last of them in about `seconds`."""

    keys: tuple[tuple[int, int], ...]
    seconds: float

    @property
    def last(self) -> tuple[int, int]:
        return self.keys[-1]


def declared_remaining(now_seconds: float) -> Remaining:
    """By what is said of each attempt in the snapshot."""

    def remaining(attempts: Sequence[LiveAttempt]) -> list[float | None]:
        return [
            None if live.expected_seconds is None else max(0.0, live.started_seconds + live.expected_seconds - now_seconds)
            for live in attempts
        ]

    return remaining


def earliest_ends(planned: Plan, job: ReadyJob, waiting: Waiting | None, remaining: Remaining) -> Ends | None:
    """Those for which `job` waits. None: no end that is expected makes room for it."""
    if waiting is not None and waiting.cause is Cause.QUOTA:
        return _of_quota(planned, waiting, remaining)
    return _of_room(planned, job, remaining)


def _in_order(attempts: Collection[LiveAttempt], remaining: Remaining) -> Iterator[tuple[float, LiveAttempt]]:
    """The nearest end first; of equals in the order of jobs."""
    known = list(attempts)
    seconds = np.array([math.nan if one is None else one for one in remaining(known)], np.float64)
    keys = np.array([(live.job_id, live.index) for live in known], np.int64).reshape(-1, 2)
    for number in np.lexsort((keys[:, 1], keys[:, 0], seconds)).tolist():  # what is not known comes last
        if math.isnan(seconds[number]):
            return
        yield float(seconds[number]), known[number]


def _ends(chosen: list[tuple[float, LiveAttempt]]) -> Ends | None:
    if not 0 < len(chosen) <= _TOGETHER:
        return None
    return Ends(tuple((live.job_id, live.index) for _, live in chosen), chosen[-1][0])


def _of_quota(planned: Plan, waiting: Waiting, remaining: Remaining) -> Ends | None:
    over, tree = waiting.over_quota, planned.snapshot.queues
    if over is None or over.needed > over.limit:
        return None
    inside = [
        live
        for queue_id, attempts in tree.attempts.items()
        if any(queue.id == over.queue_id for queue in tree.path(queue_id))
        for live in attempts.values()
    ]
    chosen: list[tuple[float, LiveAttempt]] = []
    missing = over.used + over.needed - over.limit
    for seconds, live in islice(_in_order(inside, remaining), _LOOKED_AT[-1]):
        held = charge_of(live.runs).get(over.resource, 0)
        if held:
            chosen.append((seconds, live))
            missing -= held
        if missing <= 0:
            return _ends(chosen)
    return None


def _of_room(planned: Plan, job: ReadyJob, remaining: Remaining) -> Ends | None:
    """The nearest moment from which one element fits, and then only those on the nodes that it would get."""
    fleet = planned.snapshot.fleet
    choices = choices_of(fleet, job.shape)
    if not all(choice.ranks for choice in choices):
        return None
    rows = np.unique(np.concatenate([variant.rows for choice in choices for variant in choice.variants]))
    nodes = set(fleet.ids[rows].tolist())
    excluded = frozenset(job.exclusions.get(next(iter(job.pending)), ()))
    there = (end for end in _in_order(fleet.attempts.values(), remaining) if any(run.node_id in nodes for run in end[1].runs))
    ends: list[tuple[float, LiveAttempt]] = []
    for most in _LOOKED_AT:
        before = len(ends)
        ends += islice(there, most - before)
        if len(ends) == before:
            return None
        holdings = Holdings(fleet, [live for _, live in ends])

        def place(count: int, holdings: Holdings = holdings, total: int = len(ends)) -> GangPlacement | None:
            room = without(planned.room, holdings, np.arange(total) < count)
            return place_gang(room, choices, job.shape.constraints, lambda *_: True, excluded)

        if place(len(ends)) is not None:
            count = _fewest(lambda count: place(count) is not None, len(ends))
            placement = place(count)
            used = {piece.row for pieces in (placement.pieces if placement else ()) for piece in pieces}
            return _ends([end for number, end in enumerate(ends[:count]) if used.intersection(holdings.rows_of(number).tolist())])
    return None


def _fewest(fits: Callable[[int], bool], most: int) -> int:
    """`most` are enough; more ends never leave less room."""
    low, high = 0, 1
    while high < most and not fits(high):
        low, high = high, 4 * high
    high = min(high, most)
    while low + 1 < high:
        middle = (low + high) // 2
        if fits(middle):
            high = middle
        else:
            low = middle
    return high
