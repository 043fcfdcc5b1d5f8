"""Whether one more fits: docs/concepts/fair-share.md#charges"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bushel.scheduling.fairness import Charges
from tests.scheduling.fairness.reference import Node, grow
from tests.scheduling.fairness.worlds import RESOURCES, TRIED, World, positive, shares_of, vectors, worlds


def feasible(root: Node, used: dict[int, dict[str, int]], floor: dict[Node, dict[str, int]], more: dict[str, int]) -> bool:
    """By the definition: every charge within its ceiling, of the resources in question."""
    for r in more:
        charge: dict[Node, int] = {}
        for node in root.walk():
            leaf = not node.children and node.queue_id is not None
            inner = used.get(node.queue_id or 0, {}).get(r, 0) if leaf else sum(charge[kid] for kid in node.children)
            charge[node] = max(inner, floor[node].get(r, 0))
            if charge[node] > node.top[r]:
                return False
    return True


@given(world=worlds(), data=st.data())
@TRIED
def test_fits_is_what_the_definition_says_after_any_takes_and_releases(world: World, data: Any) -> None:
    shares, root = shares_of(world), grow(world.queues, world.capacity, world.demands)
    charges = Charges(shares)
    floor: dict[Node, dict[str, int]] = {}
    for node in root.walk():
        row = 0 if node.queue_id is None else (shares.tree.leaf_of if node.own else shares.rows)[node.queue_id]
        floor[node] = {r: int(shares.floor[row, c]) for r, c in shares.columns.items()}
    used: dict[int, dict[str, int]] = {}
    for _ in range(8):
        queue_id, way = data.draw(st.sampled_from(world.queues)).id, data.draw(vectors(positive, RESOURCES, 1))
        held = used.setdefault(queue_id, dict.fromkeys(RESOURCES, 0))
        after = {**used, queue_id: {r: held[r] + way.get(r, 0) for r in RESOURCES}}
        fits = feasible(root, after, floor, way)
        assert charges.fits(queue_id, way) == fits
        assert (charges.in_the_way(queue_id, way) is None) == fits
        assert (charges.most(queue_id, way, 3) > 0) == fits
        if fits:
            charges.take(queue_id, way)
            used = after
            if data.draw(st.booleans()):
                charges.release(queue_id, way)
                used[queue_id] = held
