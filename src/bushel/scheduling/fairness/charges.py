"""What queues are charged while a plan is made, and whether one more element fits under every ceiling.

Guarantees: no queue is ever taken past its ceiling or the fleet past its capacity by `take` when `fits` said yes; a queue already
past a ceiling (its limit was lowered) takes nothing that would add to it. A limit counts what is withheld as well as what
is used: counting plain use instead can be filled to different totals by different orders. A question or a change costs one climb
from the queue to the top.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bushel.scheduling.fairness.shares import Shares


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A ceiling in the way: of a queue, or the capacity of the fleet (None). `needed` is what more it would be charged."""

    queue_id: int | None
    resource: str
    ceiling: int
    charged: int
    needed: int


class Charges:
    """Starts from what is in use and follows `take` and `release`."""

    def __init__(self, shares: Shares) -> None:
        tree = shares.tree
        below = np.zeros_like(shares.used)
        leaves = tree.first_child < 0
        below[leaves] = shares.used[leaves]
        np.add.at(below, tree.parent[1:], shares.charged[1:])
        self._columns = tree.columns
        self._names = list(tree.columns)
        self._leaf_of = tree.leaf_of
        self._queue_ids = tree.queue_ids
        self._parent: list[int] = tree.parent.tolist()
        self._below: list[list[int]] = below.tolist()  # before the queue's own floor
        self._floor: list[list[int]] = shares.floor.tolist()
        self._ceiling: list[list[int]] = np.minimum(tree.exact_ceiling, tree.exact_capacity).tolist()
        self._own_ceiling: list[list[int]] = tree.exact_ceiling.tolist()

    def charged(self, queue_id: int, resource: str) -> int:
        """What the queue's own jobs are charged, or withhold."""
        row, column = self._leaf_of[queue_id], self._columns[resource]
        return max(self._below[row][column], self._floor[row][column])

    def fits(self, queue_id: int, amounts: Mapping[str, int], count: int = 1) -> bool:
        """Whether `count` elements may be added together."""
        return all(
            amount <= 0 or ((column := self._columns.get(name)) is not None and self._room(queue_id, column) >= amount * count)
            for name, amount in amounts.items()
        )

    def most(self, queue_id: int, amounts: Mapping[str, int], limit: int) -> int:
        """How many elements may be added, at most `limit`."""
        for name, amount in amounts.items():
            if amount > 0 and limit > 0:
                column = self._columns.get(name)
                limit = 0 if column is None else min(limit, self._room(queue_id, column) // amount)
        return limit

    def in_the_way(self, queue_id: int, amounts: Mapping[str, int], count: int = 1) -> Obstacle | None:
        """The nearest ceiling that `count` more elements would pass, of the first resource by name that has one."""
        for name in sorted(amounts):
            column, more = self._columns.get(name), amounts[name] * count
            if more <= 0:
                continue
            if column is None:
                return Obstacle(None, name, 0, 0, more)
            row = self._leaf_of[queue_id]
            while row >= 0 and more > 0:
                held, floor, ceiling = self._below[row][column], self._floor[row][column], self._own_ceiling[row][column]
                charge = max(held, floor)
                more = max(held + more, floor) - charge
                if more > 0 and charge + more > ceiling:
                    return Obstacle(self._queue_ids[row], name, ceiling, charge, more)
                row = self._parent[row]
        return None

    def take(self, queue_id: int, amounts: Mapping[str, int], count: int = 1) -> None:
        for name, amount in amounts.items():
            column = self._columns.get(name)
            row, more = self._leaf_of[queue_id], amount * count
            while column is not None and row >= 0 and more:
                before = self._below[row][column]
                self._below[row][column] = before + more
                floor = self._floor[row][column]
                more = max(before + more, floor) - max(before, floor)
                row = self._parent[row]

    def release(self, queue_id: int, amounts: Mapping[str, int], count: int = 1) -> None:
        self.take(queue_id, amounts, -count)

    def _room(self, queue_id: int, column: int) -> int:
        """How much more the queue may use. An idle withheld part on the way is used before anything above is charged more."""
        row, absorbed, room = self._leaf_of[queue_id], 0, 1 << 62
        while row >= 0:
            below, floor = self._below[row][column], self._floor[row][column]
            absorbed += max(0, floor - below)
            charge = max(below, floor)
            room = min(room, absorbed + max(0, self._ceiling[row][column] - charge))
            row = self._parent[row]
        return room
