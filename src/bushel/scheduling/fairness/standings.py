"""Ranks of whole jobs: which are within their queue's entitlement (*core*), which beyond (*bonus*), who goes first, who gives way.

The jobs of a leaf stand in the order of priority, then of their start. A job is core if it and the core jobs before it are within the
leaf's entitlement in every resource that the job needs; its rank is the largest of these ratios, at most `ONE`. The others are
bonus; they stand behind all core jobs, in the order of their start, and rank by what the leaf uses up to and including them. A cpu
bonus never spoils the rank of a gpu job.

Guarantees: core jobs of a leaf together are within its entitlement, so core jobs of all leaves fit together. A core job of one
leaf is never taken for another's. Every sequence of admissions and exchanges ends, whatever their order, as long as entitlements
stay: see `may_claim`. Priority decides who is core within a leaf and nothing between leaves. Ranks are integers compared exactly:
`rank <= ONE` if and only if no entitlement is passed.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bushel.scheduling.fairness.history import History, past_use
from bushel.scheduling.fairness.shares import Shares

ONE = 1 << 20
NEVER = 1 << 62
"""The rank of a job that needs something that its queue is not entitled to any of."""

DEFAULT_PRIORITY = 500


@dataclass(frozen=True, slots=True)
class Job:
    """One element, running or waiting. Ids sort, and are of one type."""

    id: Any
    queue_id: int
    amounts: Mapping[str, int]
    priority: int = DEFAULT_PRIORITY
    started_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Claim:
    """What may be stopped for a job. Of other queues: bonus jobs of a higher rank than `rank_above`; None: nothing. Of its own
    queue: jobs of a lower priority than `own_below`; None: nothing."""

    rank_above: int | None
    own_below: int | None


class _Leaf:
    """Running jobs of one leaf, and which are core. They are put in order again only when somebody asks."""

    def __init__(self, entitled: Mapping[str, int]) -> None:
        self.entitled = entitled
        self.jobs: list[tuple[int, int, Job]] = []  # by priority, highest first, then in the order of their start
        self.used: dict[str, int] = {}
        self.settled = True
        self.core: list[Job] = []
        self.core_used: dict[str, int] = {}
        self.ranks: dict[Any, int] = {}

    def add(self, job: Job, number: int) -> None:
        _add(self.used, job.amounts, 1)
        entry = -job.priority, number, job
        last = not self.jobs or self.jobs[-1][0] <= entry[0]
        insort(self.jobs, entry, key=_order)
        if self.settled and last and len(self.core) == len(self.ranks):
            self._place(job)
            if job.id not in self.ranks:
                self.ranks[job.id] = ratio(self.used, {}, self.entitled, job.amounts)
        else:
            self.settled = False

    def remove(self, job: Job) -> None:
        _add(self.used, job.amounts, -1)
        self.jobs = [entry for entry in self.jobs if entry[2].id != job.id]
        self.settled = False

    def settle(self) -> None:
        if self.settled:
            return
        self.settled = True
        self.core, self.core_used, self.ranks = [], {}, {}
        for _, _, job in self.jobs:
            self._place(job)
        used = dict(self.core_used)
        for _, job in sorted(((number, job) for _, number, job in self.jobs if job.id not in self.ranks), key=_first):
            self.ranks[job.id] = ratio(used, job.amounts, self.entitled)
            _add(used, job.amounts, 1)

    def _place(self, job: Job) -> None:
        """Count the job as core if it is."""
        rank = ratio(self.core_used, job.amounts, self.entitled)
        if rank <= ONE:
            self.core.append(job)
            _add(self.core_used, job.amounts, 1)
            self.ranks[job.id] = rank

    def core_ahead(self, priority: int) -> Mapping[str, int]:
        """What the core jobs use that a waiting job of this priority would stand behind."""
        self.settle()
        if not self.core or self.core[-1].priority >= priority:
            return self.core_used
        ahead: dict[str, int] = {}
        for job in self.core:
            if job.priority >= priority:
                _add(ahead, job.amounts, 1)
        return ahead


def _order(entry: tuple[int, int, Job]) -> tuple[int, int]:
    return entry[:2]


def _first(entry: tuple[int, Job]) -> int:
    return entry[0]


def _add(table: dict[str, int], amounts: Mapping[str, int], sign: int) -> None:
    for name, amount in amounts.items():
        table[name] = table.get(name, 0) + sign * amount


def ratio(used: Mapping[str, int], more: Mapping[str, int], entitled: Mapping[str, int], needed: Mapping[str, int] | None = None) -> int:
    """The largest part of its entitlement that `used` and `more` take of a resource that is needed, rounded up."""
    worst = 0
    for name, amount in (needed or more).items():
        if amount > 0:
            held, right = used.get(name, 0) + more.get(name, 0), entitled.get(name, 0)
            worst = max(worst, NEVER if right <= 0 else -(-held * ONE // right))
    return min(worst, NEVER)


class Standings:
    """Follows a plan: `start` and `stop` as it decides."""

    def __init__(self, shares: Shares, running: Iterable[Job] = ()) -> None:
        self._shares = shares
        self._names = {queue_id: (shares.tree.names[row], queue_id) for queue_id, row in shares.rows.items()}
        self._leaves: dict[int, _Leaf] = {}
        self._running: dict[Any, Job] = {}
        self._past: dict[int, tuple[tuple[Any, ...], float]] = {}
        self._number = 0
        for job in sorted(running, key=lambda job: (job.started_seconds, job.id)):
            self.start(job)

    def start(self, job: Job) -> None:
        """The job runs from now on, behind all of its priority that run already."""
        self._number += 1
        self._leaf(job.queue_id).add(job, self._number)
        self._running[job.id] = job

    def stop(self, job_id: Any) -> None:
        job = self._running.pop(job_id)
        self._leaf(job.queue_id).remove(job)

    def rank_of(self, job: Job) -> int:
        """Of a running job its rank, of any other the one it would start with."""
        leaf = self._leaf(job.queue_id)
        if job.id in self._running:
            leaf.settle()
            return leaf.ranks[job.id]
        return self.rank_of_next(job.queue_id, job.amounts, job.priority)

    def rank_of_next(self, queue_id: int, amounts: Mapping[str, int], priority: int = DEFAULT_PRIORITY) -> int:
        """The rank that one more such element would start with."""
        leaf = self._leaf(queue_id)
        rank = ratio(leaf.core_ahead(priority), amounts, leaf.entitled)
        return rank if rank <= ONE else ratio(leaf.used, amounts, leaf.entitled)

    def is_core(self, job: Job) -> bool:
        return self.rank_of(job) <= ONE

    def order_key(
        self, job: Job, history: History = ({}, 0.0), now_seconds: float = 0.0, half_life_seconds: float = 1.0
    ) -> tuple[Any, ...]:
        """Ascending: core first, then the least rank, scaled by past use; then by name and id."""
        rank = self.rank_of(job)
        return rank > ONE, self.scaled(job.queue_id, rank, history, now_seconds, half_life_seconds), *self._names[job.queue_id], job.id

    def scaled(self, queue_id: int, rank: int, history: History, now_seconds: float, half_life_seconds: float) -> int:
        """The rank, made larger by what the queue used in the past."""
        if not history[0]:
            return rank
        known = self._past.get(queue_id)
        name = (id(history), now_seconds, half_life_seconds)
        if known is None or known[0] != name:
            shares = self._shares
            row = shares.tree.leaf_of[queue_id]
            slice_amounts = {resource: int(shares.slice[row, column]) for resource, column in shares.columns.items()}
            known = self._past[queue_id] = name, 1.0 + past_use(history, now_seconds, half_life_seconds, slice_amounts)
        return min(NEVER, int(rank * known[1]))

    def core_room(self, queue_id: int, amounts: Mapping[str, int], priority: int = DEFAULT_PRIORITY) -> int:
        """How many more such elements would be core."""
        leaf = self._leaf(queue_id)
        ahead = leaf.core_ahead(priority)
        rooms = [(leaf.entitled.get(n, 0) - ahead.get(n, 0)) // amount for n, amount in amounts.items() if amount > 0]
        return max(0, min(rooms, default=0))

    def until(self, queue_id: int, amounts: Mapping[str, int], rank: int) -> int:
        """How many more such elements may start until the queue's use passes `rank`."""
        leaf = self._leaf(queue_id)
        if rank >= NEVER:
            return NEVER
        rooms = [(rank * leaf.entitled.get(n, 0) // ONE - leaf.used.get(n, 0)) // amount for n, amount in amounts.items() if amount > 0]
        return max(0, min(rooms, default=0))

    def bonus(self, besides_queue_id: int | None = None, above: int = ONE) -> list[Job]:
        """Running bonus jobs of a rank over `above`, those to give way first at the front: farthest beyond, then latest started."""
        found = []
        for queue_id, leaf in self._leaves.items():
            if queue_id != besides_queue_id:
                leaf.settle()
                found += [(-rank, -self._running[name].started_seconds, *self._names[queue_id], name)
                          for name, rank in leaf.ranks.items() if rank > max(ONE, above)]  # fmt: skip
        return [self._running[entry[-1]] for entry in sorted(found)]

    def may_claim(self, job: Job) -> Claim:
        """Whom the waiting job may displace.

        - One that keeps its leaf within its entitlement: bonus jobs of other leaves.
        - The first of a leaf that runs nothing, though larger than the entitlement: bonus jobs farther beyond theirs than it.
        - One that is core by its priority: jobs of lower priority in its own leaf.
        - Others: nothing.

        No chain of these goes round. In each leaf count the core jobs by priority, highest first: an admission or a claim never
        lowers these counts lexicographically, and every claim by a core job raises those of its leaf. Where they stay, count
        the bonus jobs by rank, least first: an admission adds one, and the claim of a first job adds one and takes only higher ones.
        """
        leaf = self._leaf(job.queue_id)
        core = ratio(leaf.core_ahead(job.priority), job.amounts, leaf.entitled) <= ONE
        rank = ratio(leaf.used, job.amounts, leaf.entitled)
        own_below = job.priority if core and leaf.jobs and -leaf.jobs[-1][0] < job.priority else None
        if core and rank <= ONE:
            return Claim(ONE, own_below)
        if not leaf.jobs and rank < NEVER:
            return Claim(rank, None)
        return Claim(None, own_below)

    def _leaf(self, queue_id: int) -> _Leaf:
        leaf = self._leaves.get(queue_id)
        if leaf is None:
            leaf = self._leaves[queue_id] = _Leaf(self._shares.entitlement(queue_id))
        return leaf
