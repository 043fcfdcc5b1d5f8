"""The whole numbers of the product, held to the exact reference: docs/concepts/fair-share.md#whole-units"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil, floor
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bushel.scheduling.entities import Queue
from bushel.scheduling.fairness import Demand, FairShares, Shares
from bushel.scheduling.kernels.mode import using
from tests.scheduling.fairness.reference import Reference
from tests.scheduling.fairness.worlds import RESOURCES, TRIED, World, amounts, positive, shares_of, vectors, worlds


def same(one: Shares, other: Shares) -> bool:
    tables = ("entitled", "guaranteed", "used", "lent", "borrowed", "floor", "slice", "wanted")
    return all(np.array_equal(getattr(one, table), getattr(other, table)) for table in tables)


@given(world=worlds())
@TRIED
def test_whole_units_are_within_one_of_exact_and_no_ceiling_is_passed(world: World) -> None:
    shares, reference = shares_of(world), Reference(world.queues, world.capacity, world.demands)
    exact = reference.entitled()
    for queue_id in shares.tree.leaf_of:
        for r, amount in shares.entitlement(queue_id).items():
            assert floor(exact[queue_id][r]) <= amount <= ceil(exact[queue_id][r])
    rows = {
        node: 0 if node.queue_id is None else (shares.tree.leaf_of if node.own else shares.rows)[node.queue_id] for node in reference.nodes
    }
    for r, column in shares.columns.items():
        for node in reference.nodes:
            assert shares.entitled[rows[node], column] <= node.top[r]
        if not any(reference.floor[node, r] for node in reference.nodes):
            assert shares.entitled[0, column] == floor(sum((row[r] for row in exact.values()), Fraction(0)))


@given(world=worlds(), changes=st.lists(st.tuples(st.integers(0, 99), vectors(positive, RESOURCES, 1), st.integers(0, 3)), max_size=4))
@TRIED
def test_shares_that_followed_changes_equal_fresh_ones(world: World, changes: list[Any]) -> None:
    fair = FairShares()
    fair.update(world.queues, world.capacity, world.demands)
    for place, way, count in changes:
        queue = world.queues[place % len(world.queues)]
        kept = tuple(demand for i, demand in enumerate(world.demands) if i != place)
        world = replace(world, demands=(*kept, Demand(queue.id, (way,), count)))
        if count == 3:
            world = world.with_queue(replace(queue, weight=queue.weight + 1000))
        fresh = FairShares()
        assert same(fair.update(world.queues, world.capacity, world.demands), fresh.update(world.queues, world.capacity, world.demands))
        assert fair.served() == fresh.served()


@given(world=worlds(depth=2, shapes=2))
@TRIED
def test_compiled_kernels_give_what_the_plain_ones_give(world: World) -> None:
    compiled = shares_of(world)
    with using(compiled=False):
        assert same(shares_of(world), compiled)


@given(world=worlds(depth=2), shift=st.integers(20, 50))
@TRIED
def test_large_amounts_are_shared_in_units_of_a_small_part_of_the_fleet(world: World, shift: int) -> None:
    """Bytes of a large fleet do not fit the grains; they are shared in units of a power of two."""
    large, small = shares_of(world.times(1 << shift)), Reference(world.queues, world.capacity, world.demands).entitled()
    for queue_id in large.tree.leaf_of:
        for r, amount in large.entitlement(queue_id).items():
            unit = 1 << int(large.tree.shift[large.columns[r]])
            assert abs(Fraction(amount, 1 << shift) - small[queue_id][r]) <= Fraction(2 * unit, 1 << shift) + Fraction(1, 1 << 20)


@given(world=worlds(), data=st.data())
@TRIED
def test_loans_add_up(world: World, data: Any) -> None:
    """Among the queues of one parent: what is borrowed comes from what is lent, promised to nobody, or borrowed by the parent."""
    used = {queue.id: data.draw(vectors(amounts, RESOURCES)) for queue in world.queues if data.draw(st.booleans())}
    shares = shares_of(world, used)
    tree = shares.tree
    for row in range(tree.row_count):
        below = [child for child in range(1, tree.row_count) if tree.parent[child] == row]
        for column in range(len(tree.columns)):
            promised, charged = tree.exact_promised[:, column], shares.charged[:, column]
            lent, borrowed = shares.lent[:, column], shares.borrowed[:, column]
            assert 0 <= lent[row] <= max(0, promised[row] - charged[row])
            if row:
                assert borrowed[row] == max(0, charged[row] - promised[row])
                assert lent[row] == 0 or borrowed[row] == 0
            if not below:
                continue
            outward = lent[row] if row else 0
            assert sum(lent[below]) <= sum(borrowed[below]) + outward
            there = tree.exact_capacity[column] if row == 0 else max(charged[row], promised[row] - lent[row])
            idle = sum(max(0, promised[child] - charged[child]) for child in below)
            unmet = sum(max(promised[child], charged[child]) for child in below) - there - sum(lent[below])
            assert unmet <= 0 or sum(lent[below]) in (idle, sum(borrowed[below]) + outward)


def test_the_worked_example() -> None:
    queues = (
        Queue(1, "vision", None, 2000, guarantee={"gpu/H100": 16}), Queue(2, "speech", guarantee={"gpu/H100": 8}), Queue(3, "anna", 1),
        Queue(4, "ben", 1), Queue(5, "guests", None, 0),
    )  # fmt: skip
    task = {"cpu": 8, "gpu/H100": 1}
    demands = (Demand(3, (task,), 30), Demand(4, (task,), 4), Demand(2, ({"cpu": 16},), 40), Demand(5, ({"cpu": 4, "gpu/H100": 1},), 10))
    used = {3: {"gpu/H100": 20}, 4: {"gpu/H100": 4}, 5: {"gpu/H100": 2}}
    shares = shares_of(World(queues, {"cpu": 512, "gpu/H100": 32}, demands), used)
    assert {q: [shares.of(q)[r].entitled for r in ("gpu/H100", "cpu")] for q in range(1, 6)} == {
        1: [32, 256], 2: [0, 256], 3: [28, 224], 4: [4, 32], 5: [0, 0],
    }  # fmt: skip
    assert [shares.slice[shares.rows[q]].tolist() for q in (1, 3, 4, 2, 5)] == [[341, 32], [170, 16], [170, 16], [170, 0], [0, 0]]
    assert shares.of(1)["gpu/H100"].borrowed == 8
    assert shares.of(5)["gpu/H100"].borrowed == 2
    assert shares.of(2)["gpu/H100"].lent == 2
