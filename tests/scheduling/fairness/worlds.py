"""Random queue trees, capacities and demands, and the two ways to solve them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from bushel.scheduling.entities import Queue
from bushel.scheduling.fairness import Demand, FairShares, Shares
from tests.scheduling.fairness.reference import Reference

RESOURCES = ("cpu", "gpu", "old")
CASES = int(os.environ.get("BUSHEL_FAIRNESS_CASES", "20"))
"""How many cases a property is tried on; 2000 is a matter of half an hour."""

TRIED = settings(
    max_examples=CASES, deadline=None, suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)
)
FINE = 1_000_000
"""Amounts are made so many times larger for the integers, so that whole units are fine enough to hold them to the exact rules."""


@dataclass(frozen=True)
class World:
    queues: tuple[Queue, ...]
    capacity: Mapping[str, int]
    demands: tuple[Demand, ...]

    def queue(self, queue_id: int) -> Queue:
        return next(queue for queue in self.queues if queue.id == queue_id)

    def with_queue(self, queue: Queue) -> World:
        return replace(self, queues=tuple(queue if other.id == queue.id else other for other in self.queues))

    def children(self, queue_id: int | None) -> list[Queue]:
        return [queue for queue in self.queues if queue.parent_id == queue_id]

    def wanted(self, queue_id: int, resource: str) -> int:
        return sum(demand.ways[0].get(resource, 0) * demand.count for demand in self.demands if demand.queue_id == queue_id)

    def of(self, queue_id: int) -> list[Demand]:
        return [demand for demand in self.demands if demand.queue_id == queue_id]

    def times(self, factor: int, resources: tuple[str, ...] = RESOURCES) -> World:
        def scale(amounts: Mapping[str, int]) -> dict[str, int]:
            return {r: amount * factor if r in resources else amount for r, amount in amounts.items()}

        queues = [
            replace(
                queue, quota=scale(queue.quota), guarantee=scale(queue.guarantee),
                lending=None if queue.lending is None else scale(queue.lending),
                borrowing=None if queue.borrowing is None else scale(queue.borrowing),
            )
            for queue in self.queues
        ]  # fmt: skip
        demands = [replace(demand, ways=tuple(scale(way) for way in demand.ways)) for demand in self.demands]
        return World(tuple(queues), scale(self.capacity), tuple(demands))


@dataclass(frozen=True)
class Solution:
    """By leaf and resource, and by leaf and shape; `off` is how far an amount may be from exact."""

    entitled: dict[int, dict[str, Fraction]]
    served: dict[tuple[int, frozenset[str]], Fraction]
    slices: dict[tuple[int | None, str], Fraction]
    off: Fraction


def exactly(world: World) -> Solution:
    reference = Reference(world.queues, world.capacity, world.demands)
    served = {(node.queue_id or 0, kind): part for (node, kind), part in reference.served.items()}
    slices = {(node.queue_id, r): table[node] for r, table in reference.slices.items() for node in table if not node.own}
    return Solution(reference.entitled(), served, slices, Fraction(0))


def by_integers(world: World) -> Solution:
    fine = world.times(FINE)
    fair = FairShares()
    shares = fair.update(fine.queues, fine.capacity, fine.demands)
    leaves = shares.tree.leaf_of
    entitled = {q: {r: Fraction(amount, FINE) for r, amount in shares.entitlement(q).items()} for q in leaves}
    slices: dict[tuple[int | None, str], Fraction] = {(None, r): Fraction(int(shares.slice[0, c]), FINE) for r, c in shares.columns.items()}
    slices |= {(q, r): Fraction(int(shares.slice[row, c]), FINE) for q, row in shares.rows.items() for r, c in shares.columns.items()}
    served = {shape: Fraction(part) for shape, part in fair.served().items()}
    return Solution(entitled, served, slices, Fraction(4, FINE))


def shares_of(world: World, used: Mapping[int, Mapping[str, int]] | None = None) -> Shares:
    return FairShares().update(world.queues, world.capacity, world.demands, used)


SOLVERS: list[Callable[[World], Solution]] = [exactly, by_integers]

amounts = st.integers(0, 12)
positive = st.integers(1, 12)


def vectors(values: st.SearchStrategy[int], some: tuple[str, ...], least: int = 0) -> st.SearchStrategy[dict[str, int]]:
    return st.dictionaries(st.sampled_from(some), values, min_size=least, max_size=len(some))


@st.composite
def worlds(
    draw: Any, depth: int = 3, shapes: int = 3, some: tuple[str, ...] = RESOURCES, bounds: bool = True, zero: bool = True,
    promises: bool = True, empty: bool = True,
) -> World:  # fmt: skip
    """A tree of up to `depth` levels; guarantees may be more than there is."""
    queues: list[Queue] = []
    demands: list[Demand] = []

    def build(parent: int | None, level: int) -> None:
        number = len(queues) + 1
        inner = level > 0 and draw(st.integers(0, 2)) > 0
        queue = Queue(
            number, f"q{number}", parent, 1000 * draw(st.integers(0 if zero else 1, 4)),
            quota=draw(vectors(amounts, some)) if bounds and draw(st.booleans()) else {},
            guarantee=draw(vectors(st.integers(0, 6), some)) if promises and (not inner or draw(st.booleans())) else {},
            lending=draw(vectors(st.integers(0, 4), some)) if bounds and promises and draw(st.booleans()) else None,
            borrowing=draw(vectors(st.integers(0, 6), some)) if bounds and draw(st.booleans()) else None,
        )  # fmt: skip
        queues.append(queue)
        if not inner or draw(st.integers(0, 3)) == 0:
            demands.extend(
                Demand(number, (way,), draw(st.integers(1, 2)))
                for way in draw(st.lists(vectors(positive, some, 1), max_size=shapes if parent else 2))
            )
        for _ in range(draw(st.integers(1, 2 if parent else 3)) if inner else 0):
            build(number, level - 1)

    for _ in range(draw(st.integers(1, 3))):
        build(None, depth - 1)
    return World(tuple(queues), {r: draw(st.integers(0 if empty else 1, 20)) for r in some}, tuple(demands))


@st.composite
def flat_worlds(draw: Any, some: tuple[str, ...] = RESOURCES, equal: bool = False) -> World:
    """Queues side by side that want one shape each, without bounds."""
    number = draw(st.integers(2, 4))
    queues = [Queue(i, f"q{i}", None, 1000 if equal else 1000 * draw(st.integers(1, 4))) for i in range(1, number + 1)]
    demands = [Demand(i, (draw(vectors(positive, some, 1)),)) for i in range(1, number + 1)]
    return World(tuple(queues), {r: draw(st.integers(12, 40)) for r in some}, tuple(demands))


def part_served(world: World, solution: Solution, queue_id: int, of: Mapping[str, int] | None = None) -> Fraction:
    """How much of a one-shape demand the entitlement covers."""
    wants = of or {r: world.wanted(queue_id, r) for r in world.capacity}
    return min([Fraction(1)] + [solution.entitled[queue_id][r] / amount for r, amount in wants.items() if amount])
