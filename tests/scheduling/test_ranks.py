"""The ranks in columns are those of `fairness.standings`, the plain rule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bushel.scheduling.entities import Queue
from bushel.scheduling.fairness import Demand, FairShares, Job, Standings
from bushel.scheduling.kernels.mode import using
from bushel.scheduling.ranks import Ranks

NAMES = ("cpu", "gpu/H100")
amounts = st.tuples(st.sampled_from([0, 1000, 2000, 3000]), st.sampled_from([0, 0, 1000])).filter(any)
elements = st.lists(st.tuples(st.integers(0, 2), amounts, st.sampled_from([250, 500, 750]), st.integers(0, 3)), max_size=12)


def both(running: list[tuple[int, tuple[int, int], int, int]]) -> tuple[Standings, Ranks]:
    queues = [Queue(number, f"q{number}", guarantee={"cpu": 2000 * number}) for number in range(3)]
    demands = [Demand(number, ({"cpu": 1500, "gpu/H100": 500},), 4) for number in range(3)]
    shares = FairShares().update(queues, {"cpu": 9000, "gpu/H100": 3000}, demands, {})
    jobs = [
        Job((at, 0), queue, {name: amount for name, amount in zip(NAMES, needs, strict=True) if amount}, priority, float(started))
        for at, (queue, needs, priority, started) in enumerate(running)
    ]
    entitled = np.array([[shares.entitlement(number).get(name, 0) for name in NAMES] for number in range(3)], np.int64)
    columns = np.array([needs for _, needs, _, _ in running], np.int64).reshape(-1, 2).T
    ranks = Ranks(
        np.array([queue for queue, *_ in running], np.int64),
        np.array([priority for _, _, priority, _ in running], np.int64),
        np.array([float(started) for *_, started in running]),
        (np.arange(len(running)), np.zeros(len(running), np.int64)),
        columns,
        entitled,
    )
    return Standings(shares, jobs), ranks


def compare(running: list[tuple[int, tuple[int, int], int, int]], standings: Standings, ranks: Ranks, gone: set[int]) -> None:
    ranks.settle()
    for at, (queue, needs, priority, _) in enumerate(running):
        if at not in gone:
            asked = {name: amount for name, amount in zip(NAMES, needs, strict=True) if amount}
            assert ranks.rank[at] == standings.rank_of(Job((at, 0), queue, asked, priority))
    for queue in range(3):
        for needs in ((1000, 0), (2000, 1000), (0, 1000)):
            asked = {name: amount for name, amount in zip(NAMES, needs, strict=True) if amount}
            for priority in (250, 500, 750):
                column = np.array(needs, np.int64)
                assert ranks.may_claim(queue, column, priority) == standings.may_claim(Job((99, 0), queue, asked, priority))
                assert ranks.core_room(queue, column, priority) == standings.core_room(queue, asked, priority)


def check(running: list[tuple[int, tuple[int, int], int, int]], more: list[tuple[int, tuple[int, int], int, int]], stop: list[int]) -> None:
    standings, ranks = both(running)
    compare(running, standings, ranks, set())
    gone = {at for at in stop if at < len(running)}
    ranks.stop(np.array(sorted(gone), np.int64))
    for at in gone:
        standings.stop((at, 0))
    for at, (queue, needs, priority, _) in enumerate(more, start=len(running)):
        ranks.start(queue, np.array(needs, np.int64), priority)
        standings.start(Job((at, 0), queue, {name: amount for name, amount in zip(NAMES, needs, strict=True) if amount}, priority))
    compare(running + more, standings, ranks, gone)


@given(elements, elements, st.lists(st.integers(0, 11), unique=True))
@settings(max_examples=60, deadline=None)
def test_ranks_in_columns_are_those_of_the_plain_rule(
    running: list[tuple[int, tuple[int, int], int, int]], more: list[tuple[int, tuple[int, int], int, int]], stop: list[int]
) -> None:
    """docs/concepts/fair-share.md: core, bonus and rank of whole jobs."""
    check(running, more, stop)


@pytest.mark.slow
@given(elements, elements, st.lists(st.integers(0, 11), unique=True))
@settings(max_examples=60, deadline=None)
def test_so_are_the_compiled_ones(
    running: list[tuple[int, tuple[int, int], int, int]], more: list[tuple[int, tuple[int, int], int, int]], stop: list[int]
) -> None:
    with using(compiled=True):
        check(running, more, stop)
