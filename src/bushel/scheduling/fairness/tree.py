"""The queue tree as arrays: parents before children, siblings by name, amounts in units of each resource.

Guarantees: the same arrays for the same queues, in whatever order they come. A queue with children that has jobs of its own is
given a leaf of its own beside them, with the default weight and no guarantee; every job belongs to a leaf. Queues in a circle,
or below one that is not known, hang from the top, so that a wrong record costs a place in the tree and no plan.

A queue is *charged* for what its subtree uses or for what it withholds, whichever is more. Withheld is the part of a guarantee
that its lending limit keeps from others; the ceiling on the charge is the limit, or guarantee and borrowing limit together. After
the quota trees of Kueue (KEP-79) and KAI.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bushel.scheduling.entities import Queue
from bushel.scheduling.fairness.arrays import LARGEST_CLAIM, UNBOUNDED, Integers, fraction_bits, unit_shift

DEFAULT_WEIGHT = 1000


@dataclass(frozen=True, eq=False)
class Tree:
    """Row 0 is the whole fleet. `last[v]` is the first row after the subtree of `v`. `-1` stands for none.

    `exact_*` are in the smallest unit, the others in units, `ceiling` no more than the capacity.
    """

    columns: dict[str, int]
    row_of: dict[int, int]
    leaf_of: dict[int, int]
    queue_ids: tuple[int | None, ...]
    names: tuple[str, ...]
    parent: Integers
    first_child: Integers
    next_sibling: Integers
    last: Integers
    depth: Integers
    weight: Integers
    shift: Integers
    fraction: Integers
    capacity: Integers
    exact_capacity: Integers
    promised: Integers
    withheld: Integers
    ceiling: Integers
    exact_promised: Integers
    exact_withheld: Integers
    exact_ceiling: Integers
    path_ceiling: Integers

    @property
    def row_count(self) -> int:
        return len(self.names)

    def leaves(self, queue_ids: Integers) -> Integers:
        """The leaf of each of these queues, -1 for one that is not known."""
        ids, leaves = self._sorted_leaves
        if not len(ids):
            return np.full(len(queue_ids), -1, np.int64)
        place = np.minimum(np.searchsorted(ids, queue_ids), len(ids) - 1)
        return np.where(ids[place] == queue_ids, leaves[place], -1)

    @cached_property
    def _sorted_leaves(self) -> tuple[Integers, Integers]:
        ids = np.array(sorted(self.leaf_of), np.int64)
        return ids, np.array([self.leaf_of[queue_id] for queue_id in ids.tolist()], np.int64)


@dataclass(frozen=True)
class _Row:
    queue: Queue | None
    parent: int
    depth: int


def build_tree(queues: Iterable[Queue], capacity: Mapping[str, int]) -> Tree:
    rows, last = _rows_of(sorted(queues, key=_by_name))
    columns = {name: column for column, name in enumerate(sorted(capacity))}
    exact_capacity = np.array([max(0, capacity[name]) for name in columns], np.int64)
    parent = np.array([row.parent for row in rows], np.int64)
    first_child, next_sibling = _siblings(parent)
    exact_promised = _promised(rows, columns, parent)
    exact_promised[0] = exact_capacity
    exact_ceiling, exact_withheld = _bounds(rows, columns, exact_promised)
    exact_ceiling[0], exact_withheld[0] = exact_capacity, 0
    shift = np.array([unit_shift(int(amount)) for amount in exact_capacity], np.int64)
    whole = exact_capacity >> shift
    ceiling = np.minimum(exact_ceiling >> shift, whole)
    path_ceiling = np.minimum(exact_ceiling, exact_capacity)
    for row in range(1, len(rows)):
        np.minimum(path_ceiling[row], path_ceiling[parent[row]], out=path_ceiling[row])
    row_of = {row.queue.id: number for number, row in enumerate(rows) if row.queue is not None and row.depth >= 0}
    leaf_of = dict(row_of)
    for number, row in enumerate(rows):
        if number and row.queue is None:
            owner = rows[row.parent].queue
            if owner is not None:
                leaf_of[owner.id] = number
    return Tree(
        columns=columns,
        row_of=row_of,
        leaf_of=leaf_of,
        queue_ids=tuple(row.queue.id if row.queue is not None else None for row in rows),
        names=tuple(row.queue.name if row.queue is not None else "" for row in rows),
        parent=parent,
        first_child=first_child,
        next_sibling=next_sibling,
        last=np.array(last, np.int64),
        depth=np.array([row.depth for row in rows], np.int64),
        weight=np.array([max(0, row.queue.weight) if row.queue is not None else DEFAULT_WEIGHT for row in rows], np.int64),
        shift=shift,
        fraction=np.array([fraction_bits(int(amount)) for amount in whole], np.int64),
        capacity=whole,
        exact_capacity=exact_capacity,
        promised=np.minimum(exact_promised >> shift, LARGEST_CLAIM),
        withheld=np.minimum(exact_withheld >> shift, LARGEST_CLAIM),
        ceiling=ceiling,
        exact_promised=exact_promised,
        exact_withheld=exact_withheld,
        exact_ceiling=exact_ceiling,
        path_ceiling=path_ceiling,
    )


def _by_name(queue: Queue) -> tuple[str, int]:
    return queue.name, queue.id


def _rows_of(queues: list[Queue]) -> tuple[list[_Row], list[int]]:
    """Depth first. A queue that no top queue leads to starts a top of its own."""
    known = {queue.id for queue in queues}
    children: dict[int | None, list[Queue]] = {}
    for queue in queues:
        children.setdefault(queue.parent_id if queue.parent_id in known else None, []).append(queue)
    rows, last, placed = [_Row(None, -1, 0)], [0], set[int]()

    def visit(queue: Queue, parent: int) -> None:
        if queue.id in placed:
            return
        placed.add(queue.id)
        row = len(rows)
        rows.append(_Row(queue, parent, rows[parent].depth + 1))
        last.append(0)
        below = [child for child in children.get(queue.id, ()) if child.id not in placed]
        if below:
            rows.append(_Row(None, row, rows[row].depth + 1))
            last.append(len(rows))
        for child in below:
            visit(child, row)
        last[row] = len(rows)

    for queue in [*children.get(None, ()), *queues]:  # those of a circle come last
        visit(queue, 0)
    last[0] = len(rows)
    return rows, last


def _siblings(parent: Integers) -> tuple[Integers, Integers]:
    first, following = np.full(len(parent), -1, np.int64), np.full(len(parent), -1, np.int64)
    for row in range(len(parent) - 1, 0, -1):
        following[row] = first[parent[row]]
        first[parent[row]] = row
    return first, following


def _promised(rows: list[_Row], columns: Mapping[str, int], parent: Integers) -> Integers:
    """Guarantees as written; where a queue with children says nothing, what they are promised. A guarantee of `gpu/H100`
    counts for the total `gpu` too."""
    promised, below = np.zeros((len(rows), len(columns)), np.int64), np.zeros((len(rows), len(columns)), np.int64)
    totals = [(column, [c for other, c in columns.items() if other.startswith(name + "/")]) for name, column in columns.items()]
    totals = [(column, parts) for column, parts in totals if parts]
    for row in range(len(rows) - 1, -1, -1):
        promised[row] = below[row]
        queue = rows[row].queue
        if queue is not None:
            for name, amount in queue.guarantee.items():
                if name in columns:
                    promised[row, columns[name]] = min(max(0, amount), UNBOUNDED >> 5)
        for column, parts in totals:
            promised[row, column] = max(promised[row, column], promised[row, parts].sum())
        if row:
            below[parent[row]] = np.minimum(below[parent[row]] + promised[row], UNBOUNDED >> 5)
    return promised


def _bounds(rows: list[_Row], columns: Mapping[str, int], promised: Integers) -> tuple[Integers, Integers]:
    """Ceilings on the charge, and what is withheld."""
    ceiling, withheld = np.full(promised.shape, UNBOUNDED, np.int64), np.zeros(promised.shape, np.int64)
    for number, row in enumerate(rows):
        if row.queue is None:
            continue
        for name, amount in row.queue.quota.items():
            if name in columns:
                ceiling[number, columns[name]] = max(0, amount)
        for name, amount in (row.queue.borrowing or {}).items():
            if name in columns:
                column = columns[name]
                ceiling[number, column] = min(ceiling[number, column], promised[number, column] + max(0, amount))
        for name, amount in (row.queue.lending or {}).items():
            if name in columns:
                withheld[number, columns[name]] = max(0, promised[number, columns[name]] - max(0, amount))
    return ceiling, np.minimum(withheld, ceiling)
