"""Reserved starts, backfill and maintenance, each a sentence of docs/concepts/scheduling.md."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bushel.scheduling.reservations import Blocked, Piece, Profile, reserve

NODES = 4
PER_NODE = 4
ROWS = np.arange(NODES)
ONE = np.array([1])


def profile_of(running: list[tuple[float, int, int]], now: float = 0.0) -> Profile:
    """`running`: expected end, node, how much of its four."""
    free = np.full((1, NODES), PER_NODE, np.int64)
    for _, row, amount in running:
        free[0, row] -= amount
    profile = Profile(now, free)
    profile.ends((end, row, np.array([amount])) for end, row, amount in running)
    return profile


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[tuple[float, int, int]], list[Blocked]]:
    running: list[tuple[float, int, int]] = []
    for row in range(NODES):
        left = PER_NODE
        while left and draw(st.booleans()):
            amount = draw(st.integers(1, left))
            left -= amount
            running.append((float(draw(st.integers(1, 20))), row, amount))
    count = draw(st.integers(1, 8))
    waiting = [
        Blocked(
            *(name, draw(st.integers(0, 1)), np.array([draw(st.integers(1, PER_NODE))]), draw(st.integers(1, NODES))),
            *(float(draw(st.integers(1, 12))), ROWS),
        )
        for name in range(count)
    ]
    return running, waiting


@given(situations(), st.integers(1, 3))
@settings(max_examples=80)
def test_a_job_that_goes_ahead_pushes_no_reserved_start_later(situation, conservative):
    running, waiting = situation
    starts, reserved = reserve(profile_of(running), waiting, conservative=conservative)
    later = profile_of(running)
    for job in waiting:  # everything that was decided is laid down: it must fit at every moment
        for place in (starts.get(job.name), reserved.get(job.name)):
            if place is not None:
                later.take(place.start_seconds, place.end_seconds, place.pieces, job.request)
    assert all((step >= 0).all() for step in later.steps), "something was let into a reserved place"
    for job in waiting:
        if job.name in reserved:
            earlier = {other.name for other in waiting if other.name < job.name}
            alone = profile_of(running)
            for other in waiting:
                if other.name in earlier and (place := starts.get(other.name) or reserved.get(other.name)):
                    alone.take(place.start_seconds, place.end_seconds, place.pieces, other.request)
            best = alone.earliest(job.request, job.tasks, job.seconds, job.rows)
            assert best is not None
            assert reserved[job.name].start_seconds == best.start_seconds, "those behind it made it later"


@given(situations())
@settings(max_examples=60)
def test_when_all_keep_to_their_estimates_the_next_round_reserves_no_later(situation):
    running, waiting = situation
    starts, reserved = reserve(profile_of(running), waiting)
    for first in sorted(reserved)[:1]:  # the first blocked of all: nothing that is still waiting stands before it
        moment = min([end for end, _, _ in running] + [place.end_seconds for place in starts.values()])
        still = [(end, row, amount) for end, row, amount in running if end > moment]
        for job in waiting:
            if job.name in starts and starts[job.name].end_seconds > moment:
                still += [(starts[job.name].end_seconds, p.row, int(job.request[0]) * p.tasks) for p in starts[job.name].pieces]
        left = [job for job in waiting if job.name not in starts]
        again_starts, again_reserved = reserve(profile_of(still, moment), left)
        place = again_starts.get(first) or again_reserved[first]
        assert place.start_seconds <= reserved[first].start_seconds + 1e-9


@given(situations(), st.integers(1, 10), st.integers(1, 10))
@settings(max_examples=60)
def test_nothing_is_planned_into_a_maintenance_window(situation, begin, length):
    running, waiting = situation
    profile = profile_of(running)
    profile.close(float(begin), float(begin + length), 0)
    starts, reserved = reserve(profile, waiting, conservative=8)
    for place in (*starts.values(), *reserved.values()):
        if any(piece.row == 0 for piece in place.pieces):
            assert place.end_seconds <= begin or place.start_seconds >= begin + length


def test_a_short_job_goes_ahead_and_a_long_one_does_not():
    running = [(10.0, row, PER_NODE) for row in range(3)]
    large = Blocked(0, 0, np.array([PER_NODE]), NODES, 5.0, ROWS)
    long_one = Blocked(1, 0, ONE, 1, 11.0, ROWS)
    short_one = Blocked(2, 0, ONE, 1, 10.0, ROWS)
    starts, reserved = reserve(profile_of(running), [large, long_one, short_one])
    assert reserved[0].start_seconds == 10.0
    assert list(starts) == [2]
    assert starts[2].pieces == (Piece(3, 1),)


@given(situations())
@settings(max_examples=30)
def test_the_profile_does_not_depend_on_the_order_it_was_told(situation):
    running, _ = situation
    one, other = profile_of(running), profile_of(running[::-1])
    assert one.times == other.times
    assert all((a == b).all() for a, b in zip(one.steps, other.steps, strict=True))


@pytest.mark.parametrize("tasks", [NODES * PER_NODE + 1])
def test_what_never_fits_is_reserved_nothing(tasks):
    starts, reserved = reserve(profile_of([]), [Blocked(0, 0, ONE, tasks, 1.0, ROWS)])
    assert not starts
    assert not reserved


@given(situations(), st.integers(1, 4))
@settings(max_examples=30)
def test_a_coarse_profile_promises_no_earlier_start(situation, moments):
    running, waiting = situation
    coarse = Profile(0.0, profile_of(running).steps[0])
    coarse.ends(((end, row, np.array([amount])) for end, row, amount in running), most_moments=moments)
    job = waiting[0]
    fine, rough = (profile.earliest(job.request, job.tasks, job.seconds, ROWS) for profile in (profile_of(running), coarse))
    assert fine is None or rough is None or rough.start_seconds >= fine.start_seconds
