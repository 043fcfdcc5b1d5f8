"""docs/concepts/packing.md: what is claimed of learning."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bushel.scheduling.packing import learning
from bushel.scheduling.packing.holes import hole_prices
from bushel.scheduling.packing.learning import Demand, coarse, learn
from bushel.scheduling.packing.presets import relearning_moments, steady_next
from bushel.scheduling.packing.tables import normal_loss, same
from tests.scheduling.packing.worlds import DEVICES, MODELS, World, worlds


@given(world=worlds(moves=0), order=st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_learning_does_not_depend_on_order_or_on_how_counts_are_split(world: World, order) -> None:
    learning._remembered.clear()
    one = learn(world.demands, MODELS, DEVICES)
    split = [part for d in world.demands for part in (d._replace(count=d.count // 2), d._replace(count=d.count - d.count // 2))]
    order.shuffle(split)
    learning._remembered.clear()
    other = learn(split, MODELS, DEVICES)
    assert same(one.fill, other.fill)
    assert same(one.steady, other.steady)


def test_small_changes_of_the_demand_leave_the_very_same_tables() -> None:
    demands = [Demand(1000, 10, 0, 500, (), 1000), Demand(2000, 20, 1, 0, (), 3000)]
    more = [demands[0]._replace(count=1001), demands[1]]
    assert learn(coarse(demands), 1, 8) is learn(coarse(more), 1, 8)


@given(
    sizes=st.lists(st.sampled_from(range(50, 1000, 50)), min_size=1, max_size=4, unique=True),
    counts=st.lists(st.integers(1, 20), min_size=4, max_size=4),
)
@settings(max_examples=25, deadline=None)
def test_hole_prices_are_the_duals_of_cutting_stock(sizes: list[int], counts: list[int]) -> None:
    sizes = sorted(sizes)
    demand = [float(count) for count in counts[: len(sizes)]]
    prices = hole_prices(sizes, demand)
    assert prices[0] == 0
    assert prices[1000] == 1000
    assert (np.diff(prices) >= -1e-9).all()
    assert sum(prices[size] * count for size, count in zip(sizes, demand, strict=True)) / 1000 == pytest.approx(
        fewest_devices(sizes, demand), rel=1e-6
    )


def fewest_devices(sizes: list[int], demand: list[float]) -> float:
    """The same linear program with every pattern written out."""
    from scipy.optimize import linprog

    ranges = [range(1000 // size + 1) for size in sizes]
    patterns = [p for p in itertools.product(*ranges) if sum(n * s for n, s in zip(p, sizes, strict=True)) <= 1000]
    solved = linprog(np.ones(len(patterns)), A_ub=-np.array(patterns, float).T, b_ub=-np.array(demand), method="highs")
    return float(solved.fun)


def test_without_shares_only_a_whole_device_has_a_price() -> None:
    prices = hole_prices([], [])
    assert prices[1000] == 1000
    assert not prices[:1000].any()


def test_the_loss_table_is_that_of_the_normal_distribution() -> None:
    loss = normal_loss()
    assert loss[6 * 256] == pytest.approx(0.3989422804, abs=1e-9)
    assert loss[0] == pytest.approx(6, abs=1e-8)
    assert (np.diff(loss) <= 0).all()


def test_the_steady_set_serves_from_a_fifth_of_turnover_until_it_falls_below_a_tenth() -> None:
    assert steady_next(False, 800, 200)
    assert not steady_next(False, 850, 150)
    assert steady_next(True, 850, 150)
    assert not steady_next(True, 930, 70)


def test_relearning_comes_soon_at_first_and_rarely_later() -> None:
    moments = relearning_moments(100_000)
    assert moments[:9] == [1, 20, 50, 100, 200, 400, 700, 1000, 2000]
    assert len(moments) < 80
