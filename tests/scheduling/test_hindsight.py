"""docs/guides/estimate.md: the past of an installation calibrates what is said of its next starts."""

from __future__ import annotations

import heapq
import random

from bushel.scheduling.durations import Kind
from bushel.scheduling.hindsight import GPU, Hindsight, PastJob, scarce_amount
from tests.scheduling.worlds import group, shape


def a_past(jobs: int, capacity: int, seed: int) -> list[PastJob]:
    """First come, first served, often full; twenty people, each with durations of their own."""
    chance = random.Random(seed)
    now = last_start = 0.0
    free, ends, past = capacity, [], []
    for number in range(1, jobs + 1):
        now += chance.expovariate(capacity / 63_000)
        person, size = chance.randrange(20), chance.choice([1, 1, 2, 4, 8, 8, 16, 32])
        seconds = chance.lognormvariate(7 + person / 10, 0.8)
        start = max(now, last_start)
        while ends and (ends[0][0] <= start or free < size):
            end, size_freed = heapq.heappop(ends)
            free, start = free + size_freed, max(start, end)
        free, last_start = free - size, start
        heapq.heappush(ends, (start + seconds, size))
        kind = Kind(person % 4, str(person), f"n{person}", size)
        past.append(PastJob(number, kind, GPU, size * 1000, now, start, start + seconds, seconds))
    return past


def test_four_of_five_past_starts_lie_in_the_interval_that_could_have_been_given() -> None:
    """docs/guides/estimate.md"""
    known = Hindsight(a_past(3000, 256, 1), {GPU: 256_000}, tries=600)
    assert known.ended == 3000
    assert known.tried[GPU] > 300
    assert 0.72 <= known.hits / known.tried[GPU] <= 0.88


def test_what_was_told_in_another_order_teaches_the_same() -> None:
    past = a_past(300, 64, 2)
    one, other = Hindsight(past, {GPU: 64_000}), Hindsight(list(reversed(past)), {GPU: 64_000})
    assert (one.ended, one.tried, one.hits) == (other.ended, other.tried, other.hits)
    kind = past[0].kind
    assert one.durations.of_kind(kind) == other.durations.of_kind(kind)
    assert one.calibration.estimate(GPU, 600.0) == other.calibration.estimate(GPU, 600.0)


def test_jobs_that_failed_or_still_run_teach_no_durations() -> None:
    kind = Kind(1, "ann", "train")
    failed = PastJob(1, kind, GPU, 1000, 0.0, 10.0, 20.0, None)
    live = PastJob(2, kind, GPU, 1000, 5.0, 20.0)
    known = Hindsight([failed, live], {GPU: 1000})
    assert known.ended == 1
    assert known.durations.of_kind(kind) == Hindsight([], {}).durations.of_kind(kind)
    assert known.durations.knows(2)
    assert not known.durations.knows(1)


def test_accelerators_are_what_is_scarce_for_those_who_need_some() -> None:
    assert scarce_amount(shape(group(count=4, cpu=2000, gpu=8000)), 3) == ("gpu", 96_000)
    assert scarce_amount(shape(group(count=4, cpu=2000))) == ("cpu", 8000)
