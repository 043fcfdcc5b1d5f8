"""One resource divided down the tree, claims as they are: docs/concepts/fair-share.md#one-resource"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import linprog

from bushel.scheduling.entities import Queue
from bushel.scheduling.fairness import Demand
from bushel.scheduling.fairness.allotment import slices
from bushel.scheduling.fairness.demand import shapes_of
from bushel.scheduling.fairness.tree import build_tree
from bushel.scheduling.kernels.mode import twin
from tests.scheduling.fairness.reference import Node, allot, grow, water
from tests.scheduling.fairness.worlds import FINE, TRIED, World, amounts, exactly, positive, worlds

Key = tuple[int | None, bool]
Allotments = dict[Key, Fraction]
ROOT: Key = (None, False)
OFF = Fraction(8, FINE)
"""How far integers may be off: two claims, a few units each."""


def exact(world: World) -> Allotments:
    root = grow(world.queues, world.capacity, world.demands)
    return {(node.queue_id, node.own): amount for node, amount in allot(root, "cpu", Fraction(world.capacity["cpu"])).items()}


def integers(world: World) -> Allotments:
    fine = world.times(FINE)
    tree = build_tree(fine.queues, fine.capacity)
    shapes = shapes_of(tree, fine.demands)
    bits, capacity = int(tree.fraction[0]), int(tree.capacity[0])
    share = np.zeros(tree.row_count, np.int64)
    promised, withheld = tree.promised[:, 0].copy(), tree.withheld[:, 0].copy()
    twin(slices)(
        capacity << bits, tree.parent, tree.first_child, tree.next_sibling, tree.weight, promised, np.minimum(promised, capacity) << bits,
        withheld, np.minimum(withheld, capacity) << bits, np.minimum(tree.ceiling[:, 0], capacity) << bits,
        np.minimum(shapes.wanted[:, 0], capacity) << bits, False, share,
    )  # fmt: skip
    found: Allotments = {ROOT: Fraction(int(share[0]), FINE << bits)}
    for queue_id, row in tree.row_of.items():
        found[queue_id, False] = Fraction(int(share[row]), FINE << bits)
        if tree.leaf_of[queue_id] != row:
            found[queue_id, True] = Fraction(int(share[tree.leaf_of[queue_id]]), FINE << bits)
    return found


both = pytest.mark.parametrize("solve", [exact, integers])
Solve = Callable[[World], Allotments]
single = worlds(some=("cpu",), empty=True)


def tree_of(world: World) -> Node:
    return grow(world.queues, world.capacity, world.demands)


def key(node: Node) -> Key:
    return node.queue_id, node.own


def needs(root: Node) -> dict[Key, Fraction]:
    need: dict[Key, Fraction] = {}
    for node in root.walk():
        inner = sum((need[key(kid)] for kid in node.children), Fraction(0)) if node.children else node.wish("cpu")
        need[key(node)] = max(node.withheld["cpu"], Fraction(min(inner, node.top["cpu"])))
    return need


def families(root: Node) -> Iterator[Node]:
    return (node for node in root.walk() if node.children)


def leaf_ids(world: World) -> list[int]:
    return [queue.id for queue in world.queues if not world.children(queue.id)]


def backed(root: Node) -> bool:
    return all(sum(kid.promised["cpu"] for kid in node.children) <= node.promised["cpu"] for node in families(root)) and all(
        node.promised["cpu"] <= node.top["cpu"] for node in root.walk() if node.parent
    )


@both
@given(world=single)
@TRIED
def test_all_is_shared_out_within_every_bound(solve: Solve, world: World) -> None:
    got, root = solve(world), tree_of(world)
    need = needs(root)
    assert abs(got[ROOT] - min(world.capacity["cpu"], need[ROOT])) <= OFF
    for node in root.walk():
        assert -OFF <= got[key(node)] <= need[key(node)] + OFF
        if node.children:
            total, wanted = sum(got[key(kid)] for kid in node.children), sum(need[key(kid)] for kid in node.children)
            assert abs(total - min(got[key(node)], wanted)) <= OFF
            assert total <= got[key(node)] or solve is exact


@both
@given(world=single)
@TRIED
def test_whoever_is_short_has_the_highest_level_of_its_round(solve: Solve, world: World) -> None:
    got, root = solve(world), tree_of(world)
    need = needs(root)
    for node in families(root):
        claim = {key(kid): min(kid.promised["cpu"], need[key(kid)]) for kid in node.children}
        whole = all(got[key(kid)] >= kid.withheld["cpu"] - OFF for kid in node.children)
        for x in node.children:
            if got[key(x)] >= need[key(x)] - OFF:
                continue
            for y in node.children:
                over = got[key(y)] - claim[key(y)]
                if got[key(x)] < claim[key(x)] - OFF:  # stopped while guarantees were met
                    assert over <= OFF
                    if whole and x.promised["cpu"] and y.promised["cpu"]:
                        mine, others = ((got[key(kid)] - kid.withheld["cpu"]) / kid.promised["cpu"] for kid in (x, y))
                        assert others <= mine + OFF
                elif x.weight and over > OFF:  # stopped while the surplus was divided
                    assert y.weight > 0
                    assert over / y.weight <= (got[key(x)] - claim[key(x)]) / x.weight + OFF


@both
@given(world=single)
@TRIED
def test_guarantees_are_met_when_they_fit(solve: Solve, world: World) -> None:
    root = tree_of(world)
    assume(backed(root))
    got, need = solve(world), needs(root)
    assert all(got[key(node)] >= min(node.promised["cpu"], need[key(node)]) - OFF for node in root.walk() if node.parent)


@both
@given(world=single, more=st.integers(0, 9))
@TRIED
def test_nobody_loses_by_more_capacity(solve: Solve, world: World, more: int) -> None:
    before, after = solve(world), solve(replace(world, capacity={"cpu": world.capacity["cpu"] + more}))
    assert all(after[name] >= before[name] - OFF for name in before if before[name] <= world.capacity["cpu"] and wanted_alike(world, more))


def wanted_alike(world: World, more: int) -> bool:
    """More capacity must not make jobs runnable that were too large before."""
    return all(
        demand.ways[0]["cpu"] <= world.capacity["cpu"] or demand.ways[0]["cpu"] > world.capacity["cpu"] + more for demand in world.demands
    )


@both
@given(world=single, data=st.data())
@TRIED
def test_overstating_gains_nothing(solve: Solve, world: World, data: Any) -> None:
    liar = data.draw(st.sampled_from(leaf_ids(world)))
    lie = replace(world, demands=(*world.demands, Demand(liar, ({"cpu": data.draw(positive)},))))
    before, after = solve(world)[liar, False], solve(lie)[liar, False]
    true = next(node.wish("cpu") for node in tree_of(world).walk() if key(node) == (liar, False))
    assert min(after, true) <= before + OFF


@both
@given(world=single, data=st.data())
@TRIED
def test_grows_with_its_own_weight(solve: Solve, world: World, data: Any) -> None:
    queue = data.draw(st.sampled_from(world.queues))
    heavy = world.with_queue(replace(queue, weight=queue.weight + 1000 * data.draw(st.integers(1, 4))))
    assert solve(heavy)[queue.id, False] >= solve(world)[queue.id, False] - OFF


@both
@given(world=single, data=st.data())
@TRIED
def test_a_queue_going_idle_hurts_nobody(solve: Solve, world: World, data: Any) -> None:
    idle = data.draw(st.sampled_from(leaf_ids(world)))
    before, after = solve(world), solve(replace(world, demands=tuple(demand for demand in world.demands if demand.queue_id != idle)))
    assert all(after[leaf, False] >= before[leaf, False] - OFF for leaf in leaf_ids(world) if leaf != idle)


@both
@given(
    others=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), amounts), max_size=3),
    capacity=st.integers(12, 30),
    first=st.tuples(st.integers(1, 4), st.integers(0, 5), amounts),
    second=st.tuples(st.integers(1, 4), st.integers(0, 5), amounts),
)
@TRIED
def test_splitting_a_queue_gains_nothing(solve: Solve, others: list[Any], capacity: int, first: Any, second: Any) -> None:
    def world(*parts: tuple[int, int, int]) -> World:
        queues = [Queue(i, f"q{i}", None, 1000 * w, guarantee={"cpu": g}) for i, (w, g, _) in enumerate(parts)]
        return World(tuple(queues), {"cpu": capacity}, tuple(Demand(i, ({"cpu": 1},), d) for i, (_, _, d) in enumerate(parts)))

    whole = solve(world((first[0] + second[0], first[1] + second[1], first[2] + second[2]), *others))
    split = solve(world(first, second, *others))
    assert split[0, False] + split[1, False] <= whole[0, False] + OFF


@both
@given(world=worlds(some=("cpu",), depth=2))
@TRIED
def test_leximin_at_every_parent_by_linear_programming(solve: Solve, world: World) -> None:
    got, root = solve(world), tree_of(world)
    need = needs(root)
    for node in families(root):
        kids = node.children
        if sum(kid.withheld["cpu"] for kid in kids) > got[key(node)]:
            continue
        total = float(got[key(node)])
        low = [float(kid.withheld["cpu"]) for kid in kids]
        claim = [max(least, float(min(kid.promised["cpu"], need[key(kid)]))) for least, kid in zip(low, kids, strict=True)]
        wish = [float(need[key(kid)]) for kid in kids]
        levels = leximin(low, claim, [float(kid.promised["cpu"]) for kid in kids], total)
        levels = leximin(levels, wish, [kid.weight / 1000 for kid in kids], total)
        levels = leximin(levels, wish, [1.0] * len(kids), total)
        assert np.allclose(levels, [float(got[key(kid)]) for kid in kids], atol=1e-4)


def leximin(low: list[float], high: list[float], weight: list[float], total: float) -> list[float]:
    """Raise the least level as far as can be, hold whom it stopped, and go on with the others."""
    held = {i: low[i] for i in range(len(low)) if weight[i] <= 0 or high[i] <= low[i] + 1e-9}
    if sum(low) >= total - 1e-9:
        return list(low)
    while len(held) < len(low):
        free = [i for i in range(len(low)) if i not in held]
        # level t: low_i + weight_i * t <= x_i <= high_i for the free ones, sum x <= total
        rows = [[weight[i]] + [-1.0 if j == i else 0.0 for j in range(len(low))] for i in free] + [[0.0] + [1.0] * len(low)]
        bounds = [(0, None)] + [(held[i], held[i]) if i in held else (low[i], high[i]) for i in range(len(low))]
        best = linprog([-1.0] + [0.0] * len(low), rows, [-low[i] for i in free] + [total], bounds=bounds)
        assert best.status == 0
        level = best.x[0]
        full = [i for i in free if low[i] + weight[i] * level >= high[i] - 1e-7]
        for i in full or free:
            held[i] = low[i] + weight[i] * level
    return [held[i] for i in range(len(low))]


@given(total=st.integers(0, 40), claims=st.lists(st.tuples(st.integers(0, 5), amounts), max_size=6))
@TRIED
def test_water_has_one_level(total: int, claims: list[tuple[int, int]]) -> None:
    got = water(Fraction(total), [(w, Fraction(room)) for w, room in claims])
    assert sum(got) == min(total, sum(room for w, room in claims if w))
    short = {amount / w for amount, (w, room) in zip(got, claims, strict=True) if w and amount < room}
    assert len(short) <= 1
    assert all(amount <= w * level for amount, (w, _) in zip(got, claims, strict=True) for level in short)


@given(world=single)
@TRIED
def test_with_backed_promises_the_entitlement_is_the_allotment(world: World) -> None:
    root = tree_of(world)
    assume(backed(root))
    got, entitled = exact(world), exactly(world).entitled
    for node in root.walk():
        if not node.children and node.queue_id is not None:
            assert entitled[node.queue_id]["cpu"] == min(got[key(node)], node.wish("cpu"))
