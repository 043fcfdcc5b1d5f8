"""Entitlements of all queues, brought up to date.

Guarantees: the same shares as a fresh `FairShares` would give, bit for bit; only the subtrees whose demand or slices changed are
filled again. Entitlements depend on capacity, queues and demand alone, never on what runs where, so scheduling does not move them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from bushel.scheduling.entities import Queue
from bushel.scheduling.fairness.allotment import slices
from bushel.scheduling.fairness.arrays import UNBOUNDED, Floats, Integers
from bushel.scheduling.fairness.columns import Block, shapes_of_blocks
from bushel.scheduling.fairness.demand import Demand, Shapes, shapes_of
from bushel.scheduling.fairness.filling import fill
from bushel.scheduling.fairness.flavors import choose_ways
from bushel.scheduling.fairness.rounding import NUDGE_GRAINS, NUDGE_SHIFT, whole_units
from bushel.scheduling.fairness.shares import Shares, add_up
from bushel.scheduling.fairness.tree import Tree, build_tree
from bushel.scheduling.kernels.mode import twin


class FairShares:
    """Keep one between plans."""

    def __init__(self) -> None:
        self._queues: dict[int, Queue] = {}
        self._capacity: dict[str, int] = {}
        self._tree: Tree | None = None
        self._shapes: Shapes | None = None
        self._share: Integers | None = None
        self._memory: Floats | None = None
        self.steps = 0  # of the last filling

    def update(
        self,
        queues: Iterable[Queue],
        capacity: Mapping[str, int],
        demands: Iterable[Demand],
        used: Mapping[int, Mapping[str, int]] | None = None,
    ) -> Shares:
        """Shares now. `used` is what each queue's own jobs hold."""
        tree = self._grown_tree({queue.id: queue for queue in queues}, dict(capacity))
        own = np.zeros((tree.row_count, len(tree.columns)), np.int64)
        for queue_id, amounts in (used or {}).items():
            leaf = tree.leaf_of.get(queue_id, 0)
            for name, amount in amounts.items():
                if leaf and name in tree.columns:
                    own[leaf, tree.columns[name]] += amount
        return self._shares(tree, shapes_of(tree, choose_ways(tree, demands)), own)

    def update_columns(
        self,
        queues: Iterable[Queue],
        capacity: Mapping[str, int],
        blocks: list[Block],
        queue_ids: Integers,
        used: Integers,
    ) -> Shares:
        """As `update`, with the demand and what is used as columns, those of `capacity` by name; queue `queue_ids[i]` uses `used[i]`."""
        tree = self._grown_tree({queue.id: queue for queue in queues}, dict(capacity))
        own = np.zeros((tree.row_count, len(tree.columns)), np.int64)
        leaves = tree.leaves(queue_ids)
        own[leaves[leaves >= 0]] = used[leaves >= 0]
        return self._shares(tree, shapes_of_blocks(tree, blocks), own)

    def _shares(self, tree: Tree, shapes: Shapes, own: Integers) -> Shares:
        """`own` is what each queue's own jobs hold; it becomes what the subtree holds."""
        share = _slices_of(tree, shapes)
        floor = np.minimum(np.minimum(tree.withheld, tree.capacity) << tree.fraction, share)
        held = self._fill(tree, shapes, share, floor)
        whole = np.zeros_like(share)
        twin(whole_units)(tree.first_child, tree.last, tree.fraction, held, floor, whole)
        entitled = np.minimum(whole << tree.shift, shapes.wanted)
        twin(add_up)(tree.parent, entitled)
        twin(add_up)(tree.parent, own)
        nudge = np.minimum(NUDGE_GRAINS, (np.int64(1) << tree.fraction) >> NUDGE_SHIFT)
        whole_share = ((share + nudge) >> tree.fraction) << tree.shift
        wanted = np.minimum(shapes.wanted, UNBOUNDED // tree.row_count)  # so that the sum stays a number of 64 bits
        twin(add_up)(tree.parent, wanted)
        self._shapes, self._share = shapes, share
        return Shares(tree, entitled, own, np.minimum(tree.exact_withheld, whole_share), whole_share, wanted)

    def served(self) -> dict[tuple[int, frozenset[str]], float]:
        """By queue and resources: the part of such jobs that the last entitlement covers."""
        tree, shapes = self._tree, self._shapes
        if tree is None or shapes is None or self._memory is None:
            return {}
        names = list(tree.columns)
        queue_of = {leaf: queue_id for queue_id, leaf in tree.leaf_of.items()}
        kinds = (frozenset(name for c, name in enumerate(names) if mask >> c & 1) for _, mask in shapes.keys)
        return {(queue_of[leaf], kind): part for (leaf, _), kind, part in zip(shapes.keys, kinds, self._memory[0].tolist(), strict=True)}

    def _grown_tree(self, queues: dict[int, Queue], capacity: dict[str, int]) -> Tree:
        if self._tree is None or capacity != self._capacity or not _same_tree(queues, self._queues):
            self._tree, self._shapes, self._share, self._memory = build_tree(queues.values(), capacity), None, None, None
        self._queues, self._capacity = queues, capacity
        return self._tree

    def _fill(self, tree: Tree, shapes: Shapes, share: Integers, floor: Integers) -> Integers:
        visited, memory = self._what_changed(tree, shapes, share)
        served, held = np.zeros(len(shapes.leaf)), np.zeros_like(share)
        self.steps = twin(fill)(
            tree.parent, tree.first_child, tree.next_sibling, tree.last, tree.depth, tree.weight,
            np.ldexp(1.0, tree.fraction), np.minimum(tree.ceiling, tree.capacity) << tree.fraction, floor, share,
            shapes.start, shapes.leaf, shapes.part_start, shapes.part_column, shapes.part_amount, visited, memory, served, held,
        )  # fmt: skip
        self._memory = memory
        return held

    def _what_changed(self, tree: Tree, shapes: Shapes, share: Integers) -> tuple[np.ndarray, Floats]:
        """Which rows must be visited: those with another slice or demand, and all above them. And what is known of the others."""
        memory = np.zeros((int(tree.depth.max()) + 1, len(shapes.leaf)))
        visited = np.ones(tree.row_count, np.bool_)
        before = self._shapes
        if before is None or self._share is None or self._memory is None:
            return visited, memory
        visited[:] = (share != self._share).any(axis=1)
        if np.array_equal(shapes.leaf, before.leaf) and np.array_equal(shapes.mask, before.mask):
            memory[:] = self._memory
            parts = np.flatnonzero(shapes.part_amount != before.part_amount)
            visited[shapes.leaf[np.searchsorted(shapes.part_start, parts, side="right") - 1]] = True
        else:
            old, new = _amounts_by_key(before), _amounts_by_key(shapes)
            place = {key: number for number, key in enumerate(before.keys)}
            kept = [(number, place[key]) for number, key in enumerate(shapes.keys) if key in place]
            if kept:
                numbers, places = np.array(kept).T
                memory[:, numbers] = self._memory[:, places]
            for key in old.keys() | new.keys():
                if old.get(key) != new.get(key):
                    visited[key[0]] = True
        for row in np.flatnonzero(visited)[::-1].tolist():
            while row > 0 and not visited[tree.parent[row]]:
                row = tree.parent[row]
                visited[row] = True
        return visited, memory


def _amounts_by_key(shapes: Shapes) -> dict[tuple[int, int], tuple[int, ...]]:
    bounds, amounts = shapes.part_start.tolist(), shapes.part_amount.tolist()
    return {key: tuple(amounts[bounds[k] : bounds[k + 1]]) for k, key in enumerate(shapes.keys)}


def _same_tree(queues: dict[int, Queue], known: dict[int, Queue]) -> bool:
    """History and reordering do not change the tree."""
    if queues.keys() != known.keys():
        return False
    for queue_id, queue in queues.items():
        other = known[queue_id]
        if queue is not other and _decisive(queue) != _decisive(other):
            return False
    return True


def _decisive(queue: Queue) -> tuple[object, ...]:
    return queue.name, queue.parent_id, queue.weight, queue.quota, queue.guarantee, queue.lending, queue.borrowing


def _slices_of(tree: Tree, shapes: Shapes) -> Integers:
    """In grains, by row and column."""
    share = np.zeros((len(tree.columns), tree.row_count), np.int64)
    wishes = np.zeros((len(tree.columns), tree.row_count), np.int64)
    np.add.at(wishes, (shapes.part_column, np.repeat(shapes.leaf, np.diff(shapes.part_start))), shapes.part_amount)
    for column in range(len(tree.columns)):
        bits, capacity = int(tree.fraction[column]), int(tree.capacity[column])
        promised, withheld = np.ascontiguousarray(tree.promised[:, column]), np.ascontiguousarray(tree.withheld[:, column])
        twin(slices)(
            capacity << bits, tree.parent, tree.first_child, tree.next_sibling, tree.weight,
            promised, np.minimum(promised, capacity) << bits, withheld, np.minimum(withheld, capacity) << bits,
            np.minimum(tree.ceiling[:, column], capacity) << bits, np.minimum(wishes[column], capacity) << bits, True, share[column],
        )  # fmt: skip
    return np.ascontiguousarray(share.T)
