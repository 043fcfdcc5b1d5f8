"""Jobs that would run on several kinds of hardware: docs/concepts/fair-share.md#substitutes"""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from bushel.scheduling.entities import Queue
from bushel.scheduling.fairness import Demand, FairShares, problems_of
from bushel.scheduling.fairness.flavors import choose_ways
from bushel.scheduling.fairness.tree import build_tree
from tests.scheduling.fairness.worlds import TRIED

MODELS = ("gpu/A", "gpu/B", "gpu/C")


@st.composite
def fleets(draw: Any) -> tuple[list[Queue], dict[str, int], list[Demand]]:
    queues = [Queue(i, f"q{i}", guarantee={"gpu/A": draw(st.integers(0, 2))}) for i in range(1, draw(st.integers(2, 4)))]
    capacity = {model: draw(st.integers(1, 12)) for model in MODELS}
    demands = [
        Demand(draw(st.sampled_from(queues)).id, tuple({model: 1} for model in draw(st.permutations(MODELS))[: draw(st.integers(1, 3))]),
               draw(st.integers(1, 9)))
        for _ in range(draw(st.integers(1, 5)))
    ]  # fmt: skip
    return queues, capacity, demands


@given(case=fleets())
@TRIED
def test_no_element_is_lost_or_counted_twice(case: tuple[list[Queue], dict[str, int], list[Demand]]) -> None:
    queues, capacity, demands = case
    chosen = choose_ways(build_tree(queues, capacity), demands)
    count, before = Counter[int](), Counter[int]()
    for demand in chosen:
        count[demand.queue_id] += demand.count
        assert len(demand.ways) == 1
    for demand in demands:
        before[demand.queue_id] += demand.count
    assert count == before


@given(case=fleets())
@TRIED
def test_as_much_finds_room_as_any_choice_could(case: tuple[list[Queue], dict[str, int], list[Demand]]) -> None:
    """Without guarantees, which come first: the maximum flow, by linear programming."""
    queues, capacity, demands = case
    free = [Queue(queue.id, queue.name) for queue in queues]
    wanted = Counter[str]()
    for demand in choose_ways(build_tree(free, capacity), demands):
        wanted[next(iter(demand.ways[0]))] += demand.count
    served = sum(min(wanted[model], capacity[model]) for model in MODELS)
    edges = [(i, next(iter(way))) for i, demand in enumerate(demands) for way in demand.ways]
    rows = [[1.0 if i == k else 0.0 for i, _ in edges] for k in range(len(demands))]
    rows += [[1.0 if name == model else 0.0 for _, name in edges] for model in MODELS]
    best = linprog([-1.0] * len(edges), rows, [*(float(demand.count) for demand in demands), *map(float, capacity.values())])
    assert abs(-best.fun - served) < 1e-6


@given(case=fleets(), data=st.data())
@TRIED
def test_the_order_of_demands_does_not_matter(case: tuple[list[Queue], dict[str, int], list[Demand]], data: Any) -> None:
    queues, capacity, demands = case
    one, other = FairShares(), FairShares()
    before = one.update(queues, capacity, demands)
    after = other.update(data.draw(st.permutations(queues)), capacity, data.draw(st.permutations(demands)))
    assert (before.entitled == after.entitled).all()


def test_who_can_use_either_leaves_the_scarce_kind_to_who_cannot() -> None:
    queues = [Queue(1, "any"), Queue(2, "only")]
    demands = [Demand(1, ({"gpu/A": 1}, {"gpu/B": 1}), 10), Demand(2, ({"gpu/A": 1},), 10)]
    shares = FairShares().update(queues, {"gpu/A": 10, "gpu/B": 10}, demands)
    assert shares.entitlement(1) == {"gpu/A": 0, "gpu/B": 10}
    assert shares.entitlement(2) == {"gpu/A": 10, "gpu/B": 0}


def test_a_guarantee_is_claimed_by_jobs_that_would_rather_run_elsewhere() -> None:
    queues = [Queue(1, "any", guarantee={"gpu/A": 8}), Queue(2, "both")]
    demands = [Demand(1, ({"gpu/B": 1}, {"gpu/A": 1}), 8), Demand(2, ({"gpu/A": 1},), 99), Demand(2, ({"gpu/B": 1},), 99)]
    assert FairShares().update(queues, {"gpu/A": 10, "gpu/B": 10}, demands).entitlement(1)["gpu/A"] == 8


def test_a_guarantee_of_a_model_holds_though_a_limit_counts_all_models() -> None:
    queues = [Queue(1, "a", guarantee={"gpu/A": 8}), *(Queue(i, f"q{i}", quota={"gpu": 12}) for i in range(2, 8))]
    demands = [Demand(1, ({"gpu/A": 1, "gpu": 1},), 8)]
    demands += [Demand(i, ({model: 1, "gpu": 1},), 20) for i in range(2, 8) for model in ("gpu/A", "gpu/B")]
    assert FairShares().update(queues, {"gpu/A": 10, "gpu/B": 10, "gpu": 20}, demands).entitlement(1)["gpu/A"] == 8


def test_problems_of_a_tree_are_named() -> None:
    queues = [
        Queue(1, "team", guarantee={"cpu": 4}, quota={"cpu": 3}), Queue(2, "user", 1, guarantee={"cpu": 5}, lending={"cpu": 0, "gpu": 0}),
        Queue(3, "ring", 4), Queue(4, "gnir", 3), Queue(5, "below", None, -1, guarantee={"cpu": -1}),
    ]  # fmt: skip
    found = {(problem.queue_id, problem.code) for problem in problems_of(queues, {"cpu": 2})}
    assert {(3, "queue_circle"), (4, "queue_circle"), (5, "negative_amount"), (1, "guarantee_above_limit")} == found
    found = {(problem.queue_id, problem.code) for problem in problems_of(queues[:2], {"cpu": 2})}
    assert found == {
        (1, "guarantee_above_limit"), (1, "guarantee_not_backed"), (2, "lending_not_backed"), (1, "limit_below_guarantees"),
        (2, "nothing_to_lend"), (1, "guarantee_above_fleet"),
    }  # fmt: skip
    assert not problems_of([Queue(1, "team", guarantee={"cpu": 4}), Queue(2, "user", 1, guarantee={"cpu": 4})], {"cpu": 4})
