"""What every queue is entitled to, guaranteed, using, lending and borrowing.

Guarantees: all are whole amounts in the smallest unit, and include the queues below. `borrowed` is what a queue is charged beyond
its guarantee; `lent` is what others are charged of a guarantee that is not used: among the queues of one parent, what is
borrowed is what is lent, what the parent itself borrows and what nobody is promised, less what the parent lends. Nobody lends more
than its lending limit or borrows more than its borrowing limit, unless a limit was lowered below what is in use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from bushel.scheduling.fairness.arrays import Integers
from bushel.scheduling.fairness.tree import Tree
from bushel.scheduling.kernels.mode import kernel, twin


@dataclass(frozen=True, slots=True)
class Share:
    """Of one queue and resource. `entitled`: what its jobs, running and waiting, have a right to now."""

    entitled: int
    guaranteed: int
    used: int
    lent: int
    borrowed: int


@dataclass(frozen=True, eq=False)
class Shares:
    """`rows[queue_id]` and `columns[resource]` lead into the arrays; row 0 is the fleet. `floor`: withheld even while idle.

    `slice` is what a queue may count on however little others want; `wanted` what its runnable jobs need.
    """

    tree: Tree = field(repr=False)
    entitled: Integers = field(repr=False)
    used: Integers = field(repr=False)
    floor: Integers = field(repr=False)
    slice: Integers = field(repr=False)
    wanted: Integers = field(repr=False)

    @property
    def rows(self) -> Mapping[int, int]:
        return self.tree.row_of

    @property
    def columns(self) -> Mapping[str, int]:
        return self.tree.columns

    @property
    def guaranteed(self) -> Integers:
        return self.tree.exact_promised

    @property
    def lent(self) -> Integers:
        return self._loans[0]

    @property
    def borrowed(self) -> Integers:
        return self._loans[1]

    @cached_property
    def charged(self) -> Integers:
        """What each queue is charged: what it uses, or withholds if that is more."""
        charged = np.where((self.tree.first_child < 0)[:, None], self.used, 0)
        twin(add_charges)(self.tree.parent, self.floor, charged)
        return charged

    @cached_property
    def _loans(self) -> tuple[Integers, Integers]:
        lent, borrowed = np.zeros_like(self.used), np.zeros_like(self.used)
        tree = self.tree
        twin(loans)(tree.first_child, tree.next_sibling, tree.exact_promised, self.charged, tree.exact_capacity, lent, borrowed)
        return lent, borrowed

    def of(self, queue_id: int) -> dict[str, Share]:
        """By resource, the queues below included."""
        return self._at(self.tree.row_of[queue_id])

    def fleet(self) -> dict[str, Share]:
        """By resource, all queues together; guaranteed is the capacity."""
        return self._at(0)

    def _at(self, row: int) -> dict[str, Share]:
        tables = (self.entitled, self.guaranteed, self.used, self.lent, self.borrowed)
        return {name: Share(*(int(table[row, column]) for table in tables)) for name, column in self.columns.items()}

    def entitlement(self, queue_id: int) -> dict[str, int]:
        """By resource, of the queue's own jobs."""
        row = self.tree.leaf_of[queue_id]
        return {name: int(self.entitled[row, column]) for name, column in self.columns.items()}


@kernel
def add_up(parent: Integers, table: Integers) -> None:
    """Make each row the sum of its subtree."""
    for row in range(len(parent) - 1, 0, -1):
        for c in range(table.shape[1]):
            table[parent[row], c] += table[row, c]


@kernel
def add_charges(parent: Integers, floor: Integers, charged: Integers) -> None:
    """From the use of leaves to the charge of every row."""
    for row in range(len(parent) - 1, -1, -1):
        for c in range(charged.shape[1]):
            charged[row, c] = max(charged[row, c], floor[row, c])
            if row > 0:
                charged[parent[row], c] += charged[row, c]


@kernel
def loans(
    first_child: Integers, next_sibling: Integers, promised: Integers, charged: Integers, capacity: Integers, lent: Integers,
    borrowed: Integers,
) -> None:  # fmt: skip
    """Fill `lent` and `borrowed`, from the top down. What is free of promises is borrowed first, then idle guarantees alike."""
    for row in range(len(first_child)):
        for c in range(charged.shape[1]):
            there = capacity[c] if row == 0 else max(charged[row, c], promised[row, c] - lent[row, c])
            idle, taken, bespoken = 0, lent[row, c] if row > 0 else 0, 0
            child = first_child[row]
            while child >= 0:
                over = charged[child, c] - promised[child, c]
                borrowed[child, c] = max(over, 0)
                idle += max(-over, 0)
                taken += max(over, 0)
                bespoken += max(charged[child, c], promised[child, c])
                child = next_sibling[child]
            owed = min(idle, min(taken, max(bespoken - there, 0)))
            part = owed / idle if idle > 0 else 0.0
            rest = owed
            for turn in range(2):  # by the same part of each, then what rounding left
                child = first_child[row]
                while child >= 0 and rest > 0:
                    room = max(promised[child, c] - charged[child, c], 0) - lent[child, c]
                    more = min(room, rest)
                    if turn == 0:
                        more = min(more, int(room * part))
                    lent[child, c] += more
                    rest -= more
                    child = next_sibling[child]
