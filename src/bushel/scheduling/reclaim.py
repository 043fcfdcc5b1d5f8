"""Who is stopped for whom: a queue that is below what it is entitled to gets it back.

Guarantees: when everything within its entitlement that fits has started, every element left that would keep its queue within its
entitlement gets the room of others that are beyond theirs, in the same plan, if they may be stopped and that makes room; so does
the first element of a queue that runs nothing, from those farther beyond than it, and one of higher priority within its own queue
(`fairness.standings` says why this ends). One that has such a right and fits in what is free starts. What is stopped is what
`least_evictions` chose: whole elements, and none that is not needed; nobody who may not run again, has not run as long as it was
promised, or whose job was stopped for others as often as the policy allows. What already stops counts as coming free, so a claim that
fits beside what is free and what is stopping stops nobody. The nodes it will use, and its part of the quotas, are kept from
everything that comes after it in the plan. All of this follows from the snapshot, so the next plan finds the same claim and
keeps the same room until it can start; that it puts nobody back is seen to by `foresight`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from bushel.scheduling.claims import Claimant, Element, claimants, head_key, lines_with_a_claim, queue_numbers, within
from bushel.scheduling.decisions import Eviction, EvictionReason, Reservation
from bushel.scheduling.entities import LiveAttempt
from bushel.scheduling.fairness.standings import ONE
from bushel.scheduling.feasibility import Variant, charge_of_counts, choices_of
from bushel.scheduling.fit import Piece
from bushel.scheduling.fleet import Integers, Mask
from bushel.scheduling.kernels import tables
from bushel.scheduling.kernels.mode import twin
from bushel.scheduling.kernels.serve import allows, charge
from bushel.scheduling.least_evictions import Claim, Search
from bushel.scheduling.live import LiveColumns, live_of
from bushel.scheduling.quota import GPU_OF_ANY_MODEL, charge_of
from bushel.scheduling.ranks import Ranks
from bushel.scheduling.released import Released, release
from bushel.scheduling.victims import NOBODY, Holdings, Victims, nearness_of, without

if TYPE_CHECKING:
    from bushel.scheduling.pass_over import Pass

_NOT_THERE = 1 << 40


@dataclass(frozen=True, slots=True)
class Barred:
    """`spared` may not be stopped, nobody is stopped for those `refused`; `everybody`: nobody is stopped at all."""

    spared: frozenset[Element] = frozenset()
    refused: frozenset[Element] = frozenset()
    everybody: bool = False

    def plus(self, more: Barred) -> Barred:
        return Barred(self.spared | more.spared, self.refused | more.refused)


NOTHING_BARRED = Barred()


@dataclass(slots=True)
class Reclaimed:
    """`until_seconds`: when somebody who may not be stopped yet may be, in seconds since 1970. `beyond` are the elements, larger
    than what their queue is entitled to, for which others are stopped. `certain`: the next plan needs not be looked at, see `foresight`.
    """

    evictions: list[Eviction] = field(default_factory=list)
    reservations: list[Reservation] = field(default_factory=list)
    until_seconds: float | None = None
    beyond: list[Element] = field(default_factory=list)
    certain: bool = False

    @property
    def stopped(self) -> list[Element]:
        return [(eviction.job_id, eviction.index) for eviction in self.evictions]


def reclaim(made: Pass) -> Reclaimed:
    """Decide, and keep from the rest of the plan what is claimed."""
    table = made.lines
    left = np.flatnonzero((table.position < table.length) & (table.cause != tables.NO_NODE))
    if not len(left):
        return Reclaimed()
    live = live_of(made.fleet)
    lines = lines_with_a_claim(made, left, live)
    return _Reclaim(made, live).run(lines) if lines else Reclaimed()


class _Reclaim:
    def __init__(self, made: Pass, live: LiveColumns) -> None:
        self._made, self._live, self._fleet = made, live, made.fleet
        self._slots = np.flatnonzero(live.alive)  # what runs, in the order of its names
        self._slots = self._slots[np.lexsort((live.index[self._slots], live.job[self._slots]))]
        self._queue = queue_numbers(made, live.queue_id[self._slots])
        self._charges_of = live.charges(self._slots)
        self._evicted = live.stopping[self._slots].copy()
        gone = np.flatnonzero(self._evicted)
        self._room = without(made.room, live.holdings(self._slots[gone]), np.ones(len(gone), np.bool_))
        self._ledger = made.ledger.copy()
        release(self._ledger.table, self._queue[gone], self._charges_of[:, gone])
        self._counted = np.ones(len(made.ledger.columns), np.int64)  # "gpu" is counted only if some queue names it
        self._counted[-1] = GPU_OF_ANY_MODEL in made.shares.columns
        self._ranks = self._stand()
        self._known: tuple[object, Victims, Holdings] | None = None
        self._failed: dict[tuple[int, int], int] = {}
        self._fits: dict[tuple[int, int, frozenset[int]], bool] = {}  # one of a class of a queue, until something starts or is granted
        self._grants: list[tuple[Claimant, bool]] = []
        self._result = Reclaimed()

    def run(self, lines: list[int]) -> Reclaimed:
        for line in lines:
            offered = () if self._comes_later(line) else claimants(self._made, self._ranks, self._counted, line)
            for claimant in offered:
                if not self._serve(claimant):
                    break
        self._result.certain = bool(self._result.evictions) and self._is_certain()
        return self._result

    def _comes_later(self, line: int) -> bool:
        """Whether something of its own queue that goes before it can start in its turn."""
        made, table = self._made, self._made.lines
        mine = head_key(made, line)
        for other in made.snapshot.lines.of_queue(int(made.snapshot.lines.queue_ids[line])):
            if other != line and table.position[other] < table.length[other] and not table.cause[other] and head_key(made, other) < mine:
                shape = made.snapshot.lines.shapes.shapes[table.klass[other]]
                excluded = made.pending.excluded(*made.head(other))
                claim = Claim(choices_of(self._fleet, shape), shape.constraints, shape.task_count == 1, 1, excluded)
                if self._fits_now(int(made.snapshot.lines.queue_ids[line]), int(table.klass[other]), claim):
                    return True
        return False

    # Who stands where ----------------------------------------------------------------------------------------------

    def _stand(self) -> Ranks:
        """Of what runs, without what stops, and with what this plan starts."""
        made, live, slots = self._made, self._live, self._slots
        known = np.array([queue_id in made.shares.rows for queue_id in made.ledger.ids], np.bool_)
        queue = np.where(self._evicted | ~known[self._queue], -1, self._queue)
        jobs, indices, queues, amounts = made.started()
        priorities = np.array([made.snapshot.lines.priority(job_id) for job_id in jobs.tolist()], np.int64)
        return Ranks(
            np.concatenate([queue, queues]),
            np.concatenate([live.priority[slots], priorities]),
            np.concatenate([live.started[slots], np.full(len(jobs), made.now_seconds)]),
            (np.concatenate([live.job[slots], jobs]), np.concatenate([live.index[slots], indices])),
            np.concatenate([self._charges_of, amounts], axis=1) * self._counted[:, None],
            made.ledger.table.entitled,
        )

    # One claim -----------------------------------------------------------------------------------------------------

    def _serve(self, claimant: Claimant) -> bool:
        """Start it, make room for it, or for as much of it as there is. False: nothing more of its line."""
        klass, one = int(self._made.lines.klass[claimant.line]), replace(claimant.claim, count=1)
        if self._made.lines.cause[claimant.line] == 0 and self._fits_now(claimant.queue_id, klass, one):
            return self._start(claimant)
        if self._fails_as_before(claimant):
            return False
        victims, holdings = self._victims(claimant)
        charges = self._charges(self._ledger.number[claimant.queue_id], victims)

        def search(count: int) -> Search:
            return Search(self._room, replace(claimant.claim, count=count), holdings, victims, charges)

        count = self._most(claimant, search, len(victims))
        gone = search(count).least() if count else None
        if gone is None:
            self._note_failure(claimant)
            return False
        self._grant(claimant, claimant.elements[:count], search(count), gone, victims)
        return count == claimant.claim.count

    def _fails_as_before(self, claimant: Claimant) -> bool:
        """Whether one of its class has failed that might take from as many, and was held back by no quota."""
        above = claimant.right.rank_above
        failed = self._failed.get((int(self._made.lines.klass[claimant.line]), claimant.priority))
        return failed is not None and above is not None and claimant.right.own_below is None and above >= failed

    def _note_failure(self, claimant: Claimant) -> None:
        queue, above = self._ledger.number[claimant.queue_id], claimant.right.rank_above
        if claimant.claim.excluded or above is None or not twin(allows)(self._ledger.table, queue, claimant.needs, 1):
            return
        mine = self._ranks.runs & (self._ranks.queue == queue) & (self._ranks.rank > ONE)
        if not mine.any() and self._made.barred.refused.isdisjoint(claimant.elements):
            name = int(self._made.lines.klass[claimant.line]), claimant.priority
            self._failed[name] = min(above, self._failed.get(name, above))

    @staticmethod
    def _most(claimant: Claimant, search: Callable[[int], Search], victims: int) -> int:
        """How much of the claim fits if all give way."""
        everybody = np.ones(victims, np.bool_)
        low, high = 0, claimant.claim.count
        while low < high:
            middle = high if low == 0 and high == claimant.claim.count else (low + high + 1) // 2
            if search(middle).fits(everybody):
                low = middle
            else:
                high = middle - 1
        return low

    def _start(self, claimant: Claimant) -> bool:
        """Now, from what is free. What else of its line was to be claimed with it is looked at again."""
        made, (job_id, index) = self._made, claimant.elements[0]
        runs = made.start_head(claimant.line)
        if not runs:
            return False
        self._fits.clear()
        holds = Holdings(self._fleet, [LiveAttempt(job_id, index, claimant.queue_id, runs)])
        self._room = without(self._room, holds, np.ones(1, np.bool_), sign=-1)
        needs, queue = self._ledger.needs(charge_of(runs)), self._ledger.number[claimant.queue_id]
        twin(charge)(self._ledger.table, queue, needs, 1)
        self._ranks.start(queue, needs * self._counted, claimant.priority)
        return True

    def _fits_now(self, queue_id: int, klass: int, claim: Claim) -> bool:
        """Whether one such claim fits in what is free."""
        name = queue_id, klass, claim.excluded
        if name not in self._fits:
            nobody = np.zeros(0, np.bool_)

            def allowed(_: Mask, variants: tuple[Variant, ...], counts: tuple[int, ...]) -> bool:
                return self._made.ledger.allows(queue_id, charge_of_counts(variants, counts))

            self._fits[name] = Search(self._made.room, claim, Holdings(self._fleet, []), NOBODY, allowed).fits(nobody)
        return self._fits[name]

    def _victims(self, claimant: Claimant) -> tuple[Victims, Holdings]:
        """Who may be stopped for it, the first to give way first."""
        made, live, ranks, right = self._made, self._live, self._ranks, claimant.right
        enough = made.barred.everybody or len(self._grants) >= made.policy.claims_limit
        if enough or not made.barred.refused.isdisjoint(claimant.elements):
            return NOBODY, Holdings(self._fleet, [])
        queue = self._ledger.number[claimant.queue_id]
        name = right, queue if right.own_below is not None or (ranks.queue == queue).any() else -1, len(self._result.evictions)
        if self._known is not None and self._known[0] == name:
            return self._known[1], self._known[2]
        count = len(self._slots)
        chosen = np.zeros(count, np.bool_)
        if right.rank_above is not None:
            others = ranks.bonus(queue, right.rank_above)
            chosen[others[others < count]] = True
        own = np.zeros(count, np.bool_)
        if right.own_below is not None:
            own = (self._queue == queue) & (live.priority[self._slots] < right.own_below)
        chosen = self._may_be_stopped((chosen | own) & ~self._evicted)
        numbers = np.flatnonzero(chosen)
        slots = self._slots[numbers]
        lost = np.maximum(0.0, made.now_seconds - live.saved[slots]) * live.tasks[slots].astype(np.float64)
        nearness = nearness_of(ranks.rank[numbers], own[numbers], live.grown[slots])
        order = np.lexsort((live.index[slots], live.job[slots], lost, nearness))
        numbers, slots, lost, nearness = numbers[order], slots[order], lost[order], nearness[order]
        victims = Victims(numbers, nearness, lost, own[numbers], live.grown[slots], self._queue[numbers], self._charges_of[:, numbers])
        holdings = live.holdings(slots)
        self._known = name, victims, holdings
        return victims, holdings

    def _may_be_stopped(self, chosen: Mask) -> Mask:
        """Nobody who may not run again, has not run as long as it was promised, or whose job was stopped as often as may be."""
        made, live, slots = self._made, self._live, self._slots
        chosen = chosen & live.preemptible[slots] & (live.preemptions[slots] < made.policy.preemptions_limit)
        if made.barred.spared:
            names = zip(live.job[slots].tolist(), live.index[slots].tolist(), strict=True)
            chosen &= ~np.array([name in made.barred.spared for name in names], np.bool_)
        moments = live.started[slots] + np.maximum(live.least[slots], made.policy.least_run_seconds)
        later = chosen & (moments > made.now_seconds)
        if later.any():
            until = float(moments[later].min())
            self._result.until_seconds = until if self._result.until_seconds is None else min(until, self._result.until_seconds)
        return chosen & ~later

    def _charges(self, queue: int, victims: Victims) -> Callable[[Mask, tuple[Variant, ...], tuple[int, ...]], bool]:
        """Whether every ceiling has room for the claim once some are gone."""
        known: dict[bytes, bool] = {}
        after = Released(self._ledger.table, victims)

        def allowed(gone: Mask, variants: tuple[Variant, ...], counts: tuple[int, ...]) -> bool:
            needs = self._ledger.needs(charge_of_counts(variants, counts))
            name = needs.tobytes()
            if name not in known:
                known[name] = bool(twin(allows)(self._ledger.table, queue, needs, 1))
            if known[name] or not gone.any():
                return known[name]
            return bool(twin(allows)(after.of(gone), queue, needs, 1))

        return allowed

    def _grant(self, claimant: Claimant, elements: tuple[Element, ...], search: Search, gone: Mask, victims: Victims) -> None:
        made, queue = self._made, self._ledger.number[claimant.queue_id]
        self._fits.clear()
        numbers, holdings = victims.slots[gone], search.holdings
        self._room, groups = search.placed(gone)
        pieces = [piece for group in groups for piece in group]
        first_of_row = self._by_row(len(elements), pieces, claimant.claim.apart)
        self._evict(claimant, elements, victims, gone, self._for_whom(holdings, len(victims), first_of_row)[gone])
        self._ranks.stop(numbers[self._ranks.runs[numbers]])
        self._evicted[numbers] = True
        release(self._ledger.table, victims.queues[gone], victims.amounts[:, gone])
        for piece in pieces:
            made.room.withhold(piece)
        rows = np.unique([piece.row for piece in pieces])
        for number, (job_id, index) in enumerate(elements):
            mine = rows[first_of_row[rows] == number] if claimant.claim.apart else rows
            nodes = tuple(sorted(self._fleet.ids[mine].tolist()))
            self._result.reservations.append(Reservation(job_id, index, made.now_seconds, nodes))
        self._ranks.start(queue, claimant.needs * self._counted, claimant.priority, len(elements))
        twin(charge)(self._ledger.table, queue, claimant.needs, len(elements))
        twin(charge)(made.ledger.table, queue, claimant.needs, len(elements))
        made.lines.cause[claimant.line] = tables.NO_ROOM
        if gone.any():
            self._grants.append((claimant, search.exact(gone) and not victims.grown[gone].any()))
            self._result.beyond += () if claimant.core else elements

    def _evict(self, claimant: Claimant, elements: tuple[Element, ...], victims: Victims, gone: Mask, whom: Integers) -> None:
        live, slots = self._live, self._slots[victims.slots[gone]]
        own, grown = victims.own[gone].tolist(), victims.grown[gone].tolist()
        priority, growth, taking = EvictionReason.PRIORITY, EvictionReason.GROWTH, EvictionReason.RECLAIM
        reasons = [priority if mine else growth if large else taking for mine, large in zip(own, grown, strict=True)]
        columns = live.job[slots].tolist(), live.index[slots].tolist(), reasons, whom.tolist(), victims.lost_seconds[gone].tolist()
        self._result.evictions += [
            Eviction(job_id, index, reason, elements[number][0], claimant.queue_id, lost)
            for job_id, index, reason, number, lost in zip(*columns, strict=True)
        ]

    def _by_row(self, elements: int, pieces: list[Piece], apart: bool) -> Integers:
        """For each node the number of the first element that goes there."""
        on = np.full(len(self._fleet.ids), _NOT_THERE)
        number = 0
        for piece in pieces:
            on[piece.row] = min(int(on[piece.row]), min(number, elements - 1) if apart else 0)
            number += piece.tasks
        return on

    @staticmethod
    def _for_whom(holdings: Holdings, count: int, first_of_row: Integers) -> Integers:
        """For each victim the number of the element that gets a place of it; of those that free only a quota, the first."""
        whom = np.full(count, _NOT_THERE)
        np.minimum.at(whom, holdings.who, first_of_row[holdings.row])
        return np.where(whom == _NOT_THERE, 0, whom)

    # Whether it is of use ------------------------------------------------------------------------------------------

    def _is_certain(self) -> bool:
        """Whether the next plan plainly starts the claimant, and so can put nobody back where it was: one claim, of one group, within
        what its queue is entitled to, from other queues, with nobody who stops for no need; and nothing goes before it."""
        if len(self._grants) != 1 or not self._grants[0][1]:
            return False
        claimant, made, table = self._grants[0][0], self._made, self._made.lines
        group = claimant.claim.choices[0].group
        if (
            len(claimant.claim.choices) > 1
            or group.count > group.min_count
            or claimant.claim.excluded
            or claimant.right.own_below is not None
        ):
            return False
        left = np.flatnonzero((table.position < table.length) & (table.cause != tables.NO_NODE))
        left = left[left != claimant.line]
        queues = np.array([made.ledger.number[queue_id] for queue_id in made.snapshot.lines.queue_ids[left].tolist()], np.int64)
        before = made.snapshot.lines.queue_ids[left] == claimant.queue_id
        keys = table.pool[tables.KEY, table.start[left] + table.position[left]]
        return not (within(made, left, queues, self._ledger.table.own).any() or (keys[before] < head_key(made, claimant.line)).any())
