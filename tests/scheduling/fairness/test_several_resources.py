"""Jobs of several resources at once: docs/concepts/fair-share.md#several-resources"""

from __future__ import annotations

from collections.abc import Callable
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
from tests.scheduling.fairness.reference import Node, Reference, grow
from tests.scheduling.fairness.worlds import (
    FINE,
    RESOURCES,
    SOLVERS,
    TRIED,
    Solution,
    World,
    by_integers,
    exactly,
    flat_worlds,
    part_served,
    worlds,
)

both = pytest.mark.parametrize("solve", SOLVERS)
Solve = Callable[[World], Solution]


def charges(root: Node, solution: Solution, r: str) -> dict[Node, Fraction]:
    """From the definition: what is used below, or what is withheld of the slice if that is more."""
    charged: dict[Node, Fraction] = {}
    for node in root.walk():
        inner = sum((charged[kid] for kid in node.children), Fraction(0))
        if not node.children and node.queue_id is not None:
            inner = solution.entitled[node.queue_id][r]
        idle = Fraction(0) if node.own else min(node.withheld[r], solution.slices[node.queue_id, r])
        charged[node] = max(inner, idle)
    return charged


@both
@given(world=worlds())
@TRIED
def test_no_ceiling_is_passed(solve: Solve, world: World) -> None:
    solution, root = solve(world), grow(world.queues, world.capacity, world.demands)
    for r in RESOURCES:
        charged = charges(root, solution, r)
        leaves = [node for node in root.walk() if not node.children and node.queue_id is not None]
        assert all(charged[node] <= node.top[r] for node in root.walk())
        assert all(0 <= solution.entitled[node.queue_id or 0][r] <= node.wish(r) for node in leaves)


@both
@given(world=worlds())
@TRIED
def test_lent_and_borrowed_stay_within_their_limits(solve: Solve, world: World) -> None:
    solution, root = solve(world), grow(world.queues, world.capacity, world.demands)
    for r in RESOURCES:
        charged = charges(root, solution, r)
        for node in root.walk():
            if sum(kid.promised[r] for kid in node.children) > solution.slices.get((node.queue_id, r), 0):
                continue  # promises that nothing backs shrink
            for kid in node.children:
                if kid.queue_id is None or kid.own:
                    continue
                queue, idle = world.queue(kid.queue_id), kid.promised[r] - charged[kid]
                assert idle <= (queue.lending or {}).get(r, 99) + solution.off or kid.top[r] < kid.promised[r]
                assert -idle <= (queue.borrowing or {}).get(r, 99) + solution.off


@both
@given(world=worlds())
@TRIED
def test_every_unserved_shape_meets_a_full_ceiling(solve: Solve, world: World) -> None:
    solution, root = solve(world), grow(world.queues, world.capacity, world.demands)
    charged = {r: charges(root, solution, r) for r in RESOURCES}
    off = solution.off * 40

    def full(leaf: Node, r: str) -> bool:
        for node in leaf.path():
            inner = (
                sum((charged[r][kid] for kid in node.children), Fraction(0)) if node.children else solution.entitled[node.queue_id or 0][r]
            )
            if not node.own and inner < min(node.withheld[r], solution.slices[node.queue_id, r]) - off:
                return False
            if inner >= node.top[r] - off:
                return True
        return False

    for leaf in root.walk():
        for kind in leaf.wants:
            assert solution.served[leaf.queue_id or 0, kind] >= 1 - 1e-6 or any(full(leaf, r) for r in kind), (leaf.queue_id, kind)


@both
@given(world=worlds(depth=2, shapes=2))
@TRIED
def test_pareto_by_linear_programming(solve: Solve, world: World) -> None:
    """The most that all shapes can be served together, none less than now, is what they are served now."""
    solution, root = solve(world), grow(world.queues, world.capacity, world.demands)
    shapes = [(node, kind) for node in root.walk() for kind in node.wants]
    assume(shapes)
    now = [min(1.0, float(solution.served[node.queue_id or 0, kind])) for node, kind in shapes]
    nodes = list(root.walk())
    place = {(node, r): len(shapes) + i for i, (node, r) in enumerate((node, r) for r in RESOURCES for node in nodes)}
    bounds: list[tuple[float, float]] = [(part, 1.0) for part in now]
    rows = []
    for r in RESOURCES:
        for node in nodes:
            kept = 0.0 if node.own else float(min(node.withheld[r], solution.slices[node.queue_id, r]))
            bounds.append((kept, max(kept, float(min(node.top[r], world.capacity[r]))) + 1e-9))
            row = np.zeros(len(shapes) + len(place))
            row[place[node, r]] = -1
            for kid in node.children:
                row[place[kid, r]] = 1
            for i, (leaf, kind) in enumerate(shapes):
                if leaf is node:
                    row[i] = float(leaf.wants[kind].get(r, 0))
            rows.append(row)
    best = linprog([-1.0] * len(shapes) + [0.0] * len(place), np.array(rows), np.full(len(rows), 1e-9), bounds=bounds)
    assert best.status == 0
    assert -best.fun <= sum(now) + 1e-4


@given(world=worlds(shapes=2))
@TRIED
def test_no_shape_is_served_less_than_alone_on_the_slices_above_it(world: World) -> None:
    reference = Reference(world.queues, world.capacity, world.demands)
    for node in reference.nodes:
        alone = Reference.alone(reference, node)
        assert all(reference.served[shape] >= part for shape, part in alone.served.items())


@given(world=worlds(shapes=2, depth=2))
@TRIED
def test_no_shape_is_served_less_than_alone_on_the_slices_above_it_in_integers(world: World) -> None:
    """The exact filling of one queue alone, against the integers with all queues."""
    reference, whole = Reference(world.queues, world.capacity, world.demands), by_integers(world)
    for node in reference.nodes:
        for (leaf, kind), part in Reference.alone(reference, node).served.items():
            assert whole.served[leaf.queue_id or 0, kind] >= part - Fraction(1, 10**6)


@both
@given(world=worlds())
@TRIED
def test_backed_guarantees_are_met_for_jobs_within_them(solve: Solve, world: World) -> None:
    """A leaf whose whole demand is within its guarantee gets all of it."""
    root = grow(world.queues, world.capacity, world.demands)
    nodes = list(root.walk())
    assume(all(sum(kid.promised[r] for kid in node.children) <= node.promised[r] for node in nodes if node.children for r in RESOURCES))
    assume(all(node.promised[r] <= node.top[r] for node in nodes if node.parent for r in RESOURCES))
    solution = solve(world)
    for node in nodes:
        if not node.children and all(node.wish(r) <= node.promised[r] for r in RESOURCES):
            assert all(solution.entitled[node.queue_id or 0][r] >= node.wish(r) - solution.off for r in RESOURCES)


@both
@given(world=flat_worlds())
@TRIED
def test_sharing_incentive(solve: Solve, world: World) -> None:
    """At least as much as alone on the weight's part of everything."""
    solution, total = solve(world), sum(queue.weight for queue in world.queues)
    for queue in world.queues:
        wants = {r: world.wanted(queue.id, r) for r in RESOURCES}
        alone = min([Fraction(1)] + [Fraction(world.capacity[r] * queue.weight, total * amount) for r, amount in wants.items() if amount])
        assert part_served(world, solution, queue.id) >= alone - solution.off


@both
@given(world=flat_worlds())
@TRIED
def test_nobody_envies_another_for_its_weight(solve: Solve, world: World) -> None:
    solution = solve(world)
    for x in world.queues:
        wants = {r: world.wanted(x.id, r) for r in RESOURCES}
        for y in world.queues:
            other = min(
                [Fraction(1)] + [solution.entitled[y.id][r] * x.weight / y.weight / amount for r, amount in wants.items() if amount]
            )
            assert part_served(world, solution, x.id) >= other - 8 * solution.off


@both
@given(world=flat_worlds(), times=st.integers(2, 50))
@TRIED
def test_overstating_the_amount_gains_nothing(solve: Solve, world: World, times: int) -> None:
    liar = world.demands[0]
    lie = replace(world, demands=(replace(liar, count=liar.count * times), *world.demands[1:]))
    wants = {r: world.wanted(liar.queue_id, r) for r in RESOURCES}
    assert part_served(world, solve(lie), liar.queue_id, wants) <= part_served(world, solve(world), liar.queue_id) + solve(world).off


@both
@given(world=flat_worlds(), data=st.data())
@TRIED
def test_no_case_is_known_where_another_ratio_of_the_same_resources_gains(solve: Solve, world: World, data: Any) -> None:
    liar = world.demands[0]
    way = {r: amount + data.draw(st.integers(0, 6)) for r, amount in liar.ways[0].items()}
    lie = replace(world, demands=(replace(liar, ways=(way,)), *world.demands[1:]))
    assume(all(amount <= world.capacity[r] for r, amount in way.items()))
    wants = {r: world.wanted(liar.queue_id, r) for r in RESOURCES}
    before = solve(world)
    assert part_served(world, solve(lie), liar.queue_id, wants) <= part_served(world, before, liar.queue_id) + before.off


@both
@given(world=flat_worlds())
@TRIED
def test_grows_with_its_own_weight_when_flat(solve: Solve, world: World) -> None:
    heavy = world.with_queue(replace(world.queues[0], weight=world.queues[0].weight + 1000))
    before = solve(world)
    assert part_served(heavy, solve(heavy), 1) >= part_served(world, before, 1) - before.off


@both
@given(world=flat_worlds(), part=st.integers(1, 3), cut=st.integers(1, 3))
@TRIED
def test_splitting_a_one_shape_queue_gains_nothing(solve: Solve, world: World, part: int, cut: int) -> None:
    """Into two siblings of the same weight together, and into two queues below itself."""
    world = replace(world, demands=tuple(replace(demand, count=4 * demand.count) for demand in world.demands))
    queue, demand = world.queues[0], world.demands[0]
    whole = solve(world)
    halves = (
        replace(demand, queue_id=91, count=part * demand.count // 4),
        replace(demand, queue_id=92, count=(4 - part) * demand.count // 4),
    )
    beside = (Queue(91, "a", None, queue.weight * cut // 4), Queue(92, "b", None, queue.weight * (4 - cut) // 4))
    below = (queue, Queue(91, "a", queue.id, 1000 * cut), Queue(92, "b", queue.id))
    for queues in (beside, below):
        split = solve(replace(world, queues=queues + world.queues[1:], demands=halves + world.demands[1:]))
        for r in demand.ways[0]:
            assert split.entitled[91][r] + split.entitled[92][r] <= whole.entitled[queue.id][r] + 4 * whole.off


@both
@given(world=flat_worlds())
@TRIED
def test_is_dominant_resource_fairness_when_all_want_all_without_end(solve: Solve, world: World) -> None:
    ways = {queue.id: {r: world.wanted(queue.id, r) + 1 for r in RESOURCES} for queue in world.queues}
    big = replace(world, capacity=dict.fromkeys(RESOURCES, 40), demands=tuple(Demand(q, (way,), 1000) for q, way in ways.items()))
    speed = {queue.id: Fraction(queue.weight) / max(Fraction(ways[queue.id][r], 40) for r in RESOURCES) for queue in world.queues}
    stop = min(40 / sum(speed[q] * ways[q][r] for q in ways) for r in RESOURCES)
    solution = solve(big)
    assert all(abs(solution.entitled[q][r] - stop * speed[q] * ways[q][r]) <= solution.off for q in ways for r in RESOURCES)


@both
@given(world=worlds(), data=st.data())
@TRIED
def test_the_order_of_records_does_not_matter(solve: Solve, world: World, data: Any) -> None:
    mixed = replace(world, queues=tuple(data.draw(st.permutations(world.queues))), demands=tuple(data.draw(st.permutations(world.demands))))
    assert solve(mixed).entitled == solve(world).entitled


@both
@given(world=worlds(), times=st.sampled_from([3, 7, 1024]))
@TRIED
def test_units_do_not_matter(solve: Solve, world: World, times: int) -> None:
    before, after = solve(world), solve(world.times(times, ("gpu",)))
    for queue_id, amounts in before.entitled.items():
        for r, amount in amounts.items():
            factor = times if r == "gpu" else 1
            assert abs(after.entitled[queue_id][r] - amount * factor) <= before.off * factor


@both
@given(world=worlds(shapes=2))
@TRIED
def test_a_resource_nobody_contends_changes_nothing_for_others(solve: Solve, world: World) -> None:
    extra = tuple(Demand(queue.id, ({"free": 5},)) for queue in world.queues)
    wide = World(world.queues, {**world.capacity, "free": 1000}, world.demands + extra)
    before, after = solve(world), solve(wide)
    assert all(abs(after.entitled[q][r] - amount) <= before.off for q, row in before.entitled.items() for r, amount in row.items())
    assert all(amounts["free"] in (5, Fraction(5, FINE)) for amounts in after.entitled.values())


@both
@given(world=worlds())
@TRIED
def test_one_sum_or_many_jobs_is_the_same(solve: Solve, world: World) -> None:
    single = tuple(replace(demand, count=1) for demand in world.demands for _ in range(demand.count))
    assert solve(replace(world, demands=single)).entitled == solve(world).entitled


def test_counterexample_claiming_a_resource_one_does_not_need_can_pay() -> None:
    """False: a wants 1 cpu, b 1 cpu and 2 gpu, one of each there is. With a job of 1 gpu beside it, a is served 3/4 cpu, not 1/2."""
    queues = (Queue(1, "a"), Queue(2, "b"))
    capacity = {"cpu": 4, "gpu": 4}
    honest = World(queues, capacity, (Demand(1, ({"cpu": 1},), 4), Demand(2, ({"cpu": 1, "gpu": 2},), 4)))
    lie = replace(honest, demands=(*honest.demands, Demand(1, ({"gpu": 1},), 4)))
    for solve in SOLVERS:
        assert abs(solve(honest).entitled[1]["cpu"] - 2) < Fraction(1, 1000)
        assert abs(solve(lie).entitled[1]["cpu"] - 3) < Fraction(1, 1000)


def test_counterexample_a_queue_going_idle_can_hurt() -> None:
    """False: a (weight 2) wants gpu, b cpu and gpu, d cpu. When a leaves, b moves faster and d has 1/2 cpu, not 2/3."""
    queues = (Queue(1, "a", None, 2000), Queue(2, "b"), Queue(3, "d"))
    demands = (Demand(1, ({"gpu": 1},), 6), Demand(2, ({"cpu": 1, "gpu": 1},), 6), Demand(3, ({"cpu": 1},), 6))
    world = World(queues, {"cpu": 6, "gpu": 6}, demands)
    for solve in SOLVERS:
        assert abs(solve(world).entitled[3]["cpu"] - 4) < Fraction(1, 1000)
        assert abs(solve(replace(world, demands=demands[1:])).entitled[3]["cpu"] - 3) < Fraction(1, 1000)


def test_counterexample_more_capacity_can_hurt() -> None:
    """False, and unavoidable with Pareto and the sharing incentive: a wants cpu, b cpu and gpu, d cpu and twice the gpu. With 1 cpu d is
    served 3/11, with 2 cpu 1/4."""
    demands = (Demand(1, ({"cpu": 1},), 44), Demand(2, ({"cpu": 1, "gpu": 1},), 44), Demand(3, ({"cpu": 1, "gpu": 2},), 44))
    world = World((Queue(1, "a"), Queue(2, "b"), Queue(3, "d")), {"cpu": 44, "gpu": 44}, demands)
    for solve in SOLVERS:
        assert abs(solve(world).entitled[3]["cpu"] - 12) < Fraction(1, 1000)
        assert abs(solve(replace(world, capacity={"cpu": 88, "gpu": 44})).entitled[3]["cpu"] - 11) < Fraction(1, 1000)


@given(world=worlds())
@TRIED
def test_freezing_certificate(world: World) -> None:
    """Among siblings of one shape each that want the same, who is short has the highest served amount for its weight."""
    solution = exactly(world)
    wants = {queue.id: {r: world.wanted(queue.id, r) for r in RESOURCES} for queue in world.queues}
    for x in world.queues:
        for y in world.queues:
            plain = all(not (q.guarantee or q.quota or q.borrowing or q.lending) and not world.children(q.id) for q in (x, y))
            if plain and x.parent_id == y.parent_id and len(world.of(x.id)) == 1 and x.weight and y.weight and wants[x.id] == wants[y.id]:
                kind = frozenset(r for r, amount in wants[x.id].items() if amount)
                mine, other = solution.served.get((x.id, kind)), solution.served.get((y.id, kind))
                if mine is not None and other is not None and mine < 1:
                    assert other / y.weight <= mine / x.weight
