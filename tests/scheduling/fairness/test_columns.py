"""Demand as columns says the same as demand one by one: docs/concepts/fair-share.md#substitutes"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from hypothesis import given

from bushel.scheduling.entities import Queue
from bushel.scheduling.fairness import Demand, FairShares
from bushel.scheduling.fairness.columns import Block, shapes_of_blocks
from bushel.scheduling.fairness.demand import shapes_of
from bushel.scheduling.fairness.flavors import choose_ways
from bushel.scheduling.fairness.tree import build_tree
from bushel.scheduling.kernels.mode import using
from tests.scheduling.fairness.test_flavors import MODELS, fleets
from tests.scheduling.fairness.worlds import TRIED, World, worlds


def blocks_of(demands: Iterable[Demand], columns: Sequence[str]) -> list[Block]:
    """One for each list of ways, with a row for each queue."""
    counts: dict[tuple[tuple[tuple[str, int], ...], ...], dict[int, int]] = {}
    for demand in demands:
        of_kind = counts.setdefault(tuple(tuple(sorted(way.items())) for way in demand.ways), {})
        of_kind[demand.queue_id] = of_kind.get(demand.queue_id, 0) + demand.count
    return [
        Block(
            np.array(list(of_kind)),
            np.array(list(of_kind.values())),
            np.array([[[dict(way).get(name, 0) * count for name in columns] for count in of_kind.values()] for way in ways]),
        )
        for ways, of_kind in counts.items()
    ]


@given(world=worlds())
@TRIED
def test_shares_are_those_of_the_same_demands_one_by_one(world: World) -> None:
    one_by_one, together = FairShares(), FairShares()
    shares = one_by_one.update(world.queues, world.capacity, world.demands)
    blocks, nobody = blocks_of(world.demands, sorted(world.capacity)), np.zeros(0, np.int64)
    other = together.update_columns(world.queues, world.capacity, blocks, nobody, np.zeros((0, len(world.capacity)), np.int64))
    assert np.array_equal(shares.entitled, other.entitled)
    assert np.array_equal(shares.slice, other.slice)
    assert one_by_one.served() == together.served()


@given(case=fleets())
@TRIED
def test_every_element_is_counted_once_and_finds_as_much_room(case: tuple[list[Queue], dict[str, int], list[Demand]]) -> None:
    queues, capacity, demands = case
    tree = build_tree(queues, capacity)
    wanted = shapes_of_blocks(tree, blocks_of(demands, MODELS)).wanted
    for queue in queues:
        assert wanted[tree.leaf_of[queue.id]].sum() == sum(demand.count for demand in demands if demand.queue_id == queue.id)
    free = build_tree([Queue(queue.id, queue.name) for queue in queues], capacity)
    totals = [
        shapes.wanted.sum(axis=0)
        for shapes in (shapes_of(free, choose_ways(free, demands)), shapes_of_blocks(free, blocks_of(demands, MODELS)))
    ]
    rooms = [np.minimum(total, free.exact_capacity).sum() for total in totals]
    assert rooms[0] == rooms[1]


@given(case=fleets())
@TRIED
def test_compiled_is_plain(case: Any) -> None:
    queues, capacity, demands = case
    tree = build_tree(queues, capacity)
    found = []
    for compiled in (False, True):
        with using(compiled=compiled):
            found.append(shapes_of_blocks(tree, blocks_of(demands, MODELS)))
    assert found[0].keys == found[1].keys
    assert np.array_equal(found[0].part_amount, found[1].part_amount)
