"""Ranks of whole elements, in columns: the rule of `fairness.standings`, for a fleet of them at once.

Guarantees: core and bonus are exactly those of `Standings`, and a rank differs from its by less than one part in a billion. Elements are
numbered: those that run first, then those added, each behind all of its priority. Amounts and what queues are entitled to are columns
of the ledger, queues its numbers.
"""

# pyright: reportIndexIssue=false
from __future__ import annotations

import numpy as np

from bushel.scheduling.fairness.standings import NEVER, ONE, Claim
from bushel.scheduling.fleet import Integers, Mask
from bushel.scheduling.kernels.mode import kernel, twin
from bushel.scheduling.kernels.tables import Array

_VERY_FAR = 1 << 40


@kernel
def part_of(held: int, right: int) -> int:
    """`held` of what is entitled, as a rank, rounded up; over `ONE` if and only if it is more."""
    if right <= 0:
        return NEVER
    whole, rest = held // right, held % right
    if whole >= _VERY_FAR:
        return NEVER
    rank = whole * ONE + int(np.ceil(rest / right * ONE))
    if held <= right:
        return min(rank, ONE)
    return max(rank, ONE + 1)


@kernel
def rank_leaves(
    by_priority: Array, by_start: Array, queue: Array, amounts: Array, entitled: Array, core_used: Array, core: Array, rank: Array
) -> None:
    """Fill in `core` and `rank` of these; their queues' `core_used` is 0 before."""
    width = amounts.shape[0]
    for at in by_priority:
        leaf = queue[at]
        worst = 0
        for column in range(width):
            amount = amounts[column, at]
            if amount > 0:
                worst = max(worst, part_of(int(core_used[leaf, column] + amount), int(entitled[leaf, column])))
        core[at] = worst <= ONE
        if worst <= ONE:
            rank[at] = worst
            for column in range(width):
                core_used[leaf, column] += amounts[column, at]
    used = core_used.copy()
    for at in by_start:
        if core[at]:
            continue
        leaf = queue[at]
        worst = 0
        for column in range(width):
            amount = amounts[column, at]
            used[leaf, column] += amount
            if amount > 0:
                worst = max(worst, part_of(int(used[leaf, column]), int(entitled[leaf, column])))
        rank[at] = worst


class Ranks:
    """Follows a plan: `start` and `stop` as it decides."""

    def __init__(
        self, queue: Integers, priority: Integers, started: Array, names: tuple[Integers, Integers], amounts: Integers, entitled: Integers
    ) -> None:
        """`queue` is -1 for who stands nowhere. `names`: job and index, for those that started at once."""
        self.queue, self.priority, self.amounts, self._entitled = queue, priority, amounts, entitled
        order = np.lexsort((names[1], names[0], started))
        self._number = np.empty(len(queue), np.int64)
        self._number[order] = np.arange(len(queue))
        self.runs: Mask = queue >= 0
        self.core: Mask = np.zeros(len(queue), np.bool_)
        self.rank: Integers = np.zeros(len(queue), np.int64)
        self.used = np.zeros(entitled.shape, np.int64)
        np.add.at(self.used, queue[self.runs], amounts[:, self.runs].T)
        self._core_used = np.zeros(entitled.shape, np.int64)
        self._stale: Mask = np.zeros(len(entitled), np.bool_)
        self._stale[queue[self.runs]] = True

    def start(self, queue: int, amounts: Integers, priority: int, count: int = 1) -> None:
        """So many more of these run, behind all of their priority."""
        first, most = len(self.queue), int(self._number.max(initial=-1))
        self.queue = np.concatenate([self.queue, np.full(count, queue)])
        self.priority = np.concatenate([self.priority, np.full(count, priority)])
        self._number = np.concatenate([self._number, np.arange(most + 1, most + 1 + count)])
        self.amounts = np.concatenate([self.amounts, np.repeat(amounts[:, None], count, axis=1)], axis=1)
        for name in ("runs", "core"):
            setattr(self, name, np.concatenate([getattr(self, name), np.full(count, name == "runs")]))
        self.rank = np.concatenate([self.rank, np.zeros(len(self.queue) - first, np.int64)])
        self.used[queue] += amounts * count
        self._stale[queue] = True

    def stop(self, numbers: Integers) -> None:
        self.runs[numbers] = False
        np.add.at(self.used, self.queue[numbers], -self.amounts[:, numbers].T)
        self._stale[self.queue[numbers]] = True

    def settle(self) -> None:
        """Bring `core` and `rank` up to date."""
        if not self._stale.any():
            return
        mine = np.flatnonzero(self.runs & self._stale[self.queue])
        self._core_used[self._stale] = 0
        self._stale[:] = False
        mine = mine[np.argsort(self._number[mine], kind="stable")]
        by_priority = mine[np.argsort(-self.priority[mine], kind="stable")]
        twin(rank_leaves)(by_priority, mine, self.queue, self.amounts, self._entitled, self._core_used, self.core, self.rank)

    # What is asked -------------------------------------------------------------------------------------------------

    def bonus(self, besides: int, above: int) -> Integers:
        """Numbers of those that run, of other queues, beyond what they are entitled to and of a higher rank than `above`."""
        self.settle()
        return np.flatnonzero(self.runs & (self.queue != besides) & (self.rank > max(ONE, above)))

    def may_claim(self, queue: int, amounts: Integers, priority: int) -> Claim:
        """As `Standings.may_claim`."""
        core = self.rank_after(queue, amounts, self._core_ahead(queue, priority)) <= ONE
        rank = self.rank_after(queue, amounts, self.used[queue])
        mine = self.runs & (self.queue == queue)
        own_below = priority if core and (self.priority[mine] < priority).any() else None
        if core and rank <= ONE:
            return Claim(ONE, own_below)
        if rank < NEVER and not mine.any():
            return Claim(rank, None)
        return Claim(None, own_below)

    def core_room(self, queue: int, amounts: Integers, priority: int) -> int:
        """How many more such elements would be core."""
        needed = np.flatnonzero(amounts)
        left = self._entitled[queue, needed] - self._core_ahead(queue, priority)[needed]
        return max(0, int((left // amounts[needed]).min(initial=1 << 40))) if len(needed) else 0

    def rank_after(self, queue: int, amounts: Integers, used: Integers) -> int:
        parts = [part_of(int(used[column] + amounts[column]), int(self._entitled[queue, column])) for column in np.flatnonzero(amounts)]
        return max(parts, default=0)

    def _core_ahead(self, queue: int, priority: int) -> Integers:
        """What the core ones use that one of this priority would stand behind."""
        self.settle()
        ahead = self.runs & self.core & (self.queue == queue) & (self.priority >= priority)
        return self.amounts[:, ahead].sum(axis=1)
