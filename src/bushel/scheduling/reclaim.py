"""Who is stopped for whom: a queue that is below what it is entitled to gets it back.

Guarantees: when everything within its entitlement that fits has started, every element left that would keep its queue within its
entitlement gets the room of others that are beyond theirs, in the same plan, if they may be stopped and that makes room; so does
the first element of a queue that runs nothing, from those farther beyond than it, and one of higher priority within its own queue
(`fairness.standings` says why this ends). What is stopped is what `least_evictions` chose: whole elements, and none that is not
needed. What already stops counts as coming free, so nobody is stopped twice for one claim: a claim that fits beside what is
free and what is stopping stops nobody. The nodes it will use, and its part of the quotas, are kept from
everything that comes after it in the plan. All of this follows from the snapshot, so the next plan finds the same claim and
keeps the same room until it can start, and does not put back what was stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from bushel.scheduling.decisions import Eviction, Reservation
from bushel.scheduling.entities import LiveAttempt
from bushel.scheduling.fairness.standings import ONE, Job, Standings
from bushel.scheduling.fairness.standings import Claim as Right
from bushel.scheduling.feasibility import Choices, Variant, charge_of_counts, choices_of
from bushel.scheduling.fit import Piece
from bushel.scheduling.fleet import Mask
from bushel.scheduling.kernels import tables
from bushel.scheduling.kernels.mode import twin
from bushel.scheduling.kernels.serve import allows, key_of_queue
from bushel.scheduling.least_evictions import Claim, Search
from bushel.scheduling.lines import job_of_key, priority_of_key
from bushel.scheduling.quota import charge_of
from bushel.scheduling.victims import Holdings, Victim, may_be_stopped_at, without

if TYPE_CHECKING:
    from bushel.scheduling.pass_over import Pass


Element = tuple[int, int]
"""A job and an index."""


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


@dataclass(frozen=True, slots=True)
class _Claimant:
    """Elements of equal right at the head of a line: one gang, or some single tasks."""

    queue_id: int
    line: int
    elements: tuple[tuple[int, int], ...]
    amounts: dict[str, int]  # of one of them, by what shares are counted in
    variants: tuple[Variant, ...]
    claim: Claim
    right: Right

    @property
    def core(self) -> bool:
        """Whether its queue stays within what it is entitled to."""
        return self.right.rank_above == ONE or self.right.own_below is not None


def reclaim(made: Pass) -> Reclaimed:
    """Decide, and keep from the rest of the plan what is claimed."""
    lines = _lines_with_a_claim(made)
    return _Reclaim(made).run(lines) if lines else Reclaimed()


def _lines_with_a_claim(made: Pass) -> list[int]:
    """Lines whose head may have one, by a quick look, in the order in which they are served."""
    table, queues, classes = made.lines, made.ledger.table, made.classes
    left = np.flatnonzero((table.position < table.length) & (table.cause != tables.NO_NODE))
    if not len(left) or not made.fleet.attempts:
        return []
    number = np.array([made.ledger.number[queue_id] for queue_id in made.snapshot.lines.queue_ids[left].tolist()], np.int64)
    needs, own, entitled = classes.needs[table.klass[left], :-1], queues.own[number, :-1], queues.entitled[number, :-1]
    core = ((needs == 0) | (own + needs <= entitled)).all(axis=1)
    alone = ((needs == 0) | (needs <= entitled)).all(axis=1)
    idle = (own == 0).all(axis=1) & ((needs == 0) | (entitled > 0)).all(axis=1)
    elastic = np.array([_is_elastic(made, line) for line in left.tolist()])
    beyond = bool((queues.own[:, :-1] > queues.entitled[:, :-1]).any())
    stops = any(attempt.stopping for attempt in made.fleet.attempts.values()) if (core | idle | elastic).any() else False
    found: list[tuple[int, int, int, int]] = []
    for at, line in enumerate(left.tolist()):
        key = int(table.pool[tables.KEY, table.start[line] + table.position[line]])
        others = (core[at] or idle[at] or elastic[at]) and (beyond or stops or not table.cause[line])
        if others or (alone[at] and _has_lower(made, int(made.snapshot.lines.queue_ids[line]), priority_of_key(key))):
            rank = int(twin(key_of_queue)(queues, classes, int(number[at]), int(table.klass[line])))
            found.append((rank, int(number[at]), key, line))
    return [line for *_, line in sorted(found)]


def _is_elastic(made: Pass, line: int) -> bool:
    shape = made.snapshot.lines.shapes.shapes[made.lines.klass[line]]
    return any(group.min_count < group.count for group in shape.groups)


def _has_lower(made: Pass, queue_id: int, priority: int) -> bool:
    return any(attempt.priority < priority for attempt in made.snapshot.queues.attempts.get(queue_id, {}).values())


class _Reclaim:
    def __init__(self, made: Pass) -> None:
        self._made = made
        self._fleet = made.fleet
        self._live = made.fleet.attempts
        self._gone = [attempt for attempt in self._live.values() if attempt.stopping]
        self._standings = self._stand()
        self._room = without(made.room, Holdings(self._fleet, self._gone), np.ones(len(self._gone), np.bool_))
        self._ledger = made.ledger.copy()
        for attempt in self._gone:
            self._ledger.take(attempt.queue_id, charge_of(attempt.runs), -1)
        self._known: tuple[object, list[Victim], Holdings] | None = None
        self._result = Reclaimed()

    def run(self, lines: Sequence[int]) -> Reclaimed:
        for line in lines:
            claimants = () if self._comes_later(line) else self._claimants(line)
            for claimant in claimants:
                if not self._serve(claimant):
                    break
        return self._result

    def _comes_later(self, line: int) -> bool:
        """Whether something of its own queue that goes before it can start in its turn."""
        made, table = self._made, self._made.lines
        mine = self._head_key(line)
        for other in made.snapshot.lines.of_queue(int(made.snapshot.lines.queue_ids[line])):
            if other != line and table.position[other] < table.length[other] and not table.cause[other] and self._head_key(other) < mine:
                shape = made.snapshot.lines.shapes.shapes[table.klass[other]]
                excluded = made.pending.excluded(*made.head(other))
                claim = Claim(choices_of(self._fleet, shape), shape.constraints, shape.task_count == 1, 1, excluded)
                if self._fits_now(int(made.snapshot.lines.queue_ids[line]), claim):
                    return True
        return False

    def _head_key(self, line: int) -> int:
        table = self._made.lines
        return int(table.pool[tables.KEY, table.start[line] + table.position[line]])

    # Who stands where ----------------------------------------------------------------------------------------------

    def _stand(self) -> Standings:
        """Of what runs, without what stops, and with what this plan starts."""
        made, rows = self._made, self._made.shares.rows
        running = [
            Job((live.job_id, live.index), live.queue_id, self._counted(charge_of(live.runs)), live.priority, live.started_seconds)
            for live in self._live.values()
            if not live.stopping and live.queue_id in rows
        ]
        for start in made.starts():
            name, amounts = (start.job_id, start.index), self._counted(charge_of(start.runs))
            running.append(Job(name, start.queue_id, amounts, self._priority(start.job_id), made.now_seconds))
        return Standings(made.shares, running)

    def _counted(self, amounts: dict[str, int]) -> dict[str, int]:
        columns = self._made.shares.columns
        return {name: amount for name, amount in amounts.items() if amount and name in columns}

    def _priority(self, job_id: int) -> int:
        job = self._made.snapshot.lines.job(job_id)
        return job.priority if job else 500

    def _claimants(self, line: int) -> Iterator[_Claimant]:
        """What is left of a line, from its head, as long as it has a right; the next is asked for when the one before was served."""
        made, table = self._made, self._made.lines
        shape = made.snapshot.lines.shapes.shapes[table.klass[line]]
        queue_id = int(made.snapshot.lines.queue_ids[line])
        if queue_id not in made.shares.rows:
            return
        choices = choices_of(self._fleet, shape)
        apart = shape.task_count == 1
        variants = [tuple(choice.variants[min(way, len(choice.variants) - 1)] for choice in choices) for way in _ways(choices)]
        position, taken = int(table.position[line]), int(table.taken[line])
        while position < table.length[line]:
            at = int(table.start[line]) + position
            key = int(table.pool[tables.KEY, at])
            for ways in variants:
                amounts = self._counted(charge_of_counts(ways, [choice.group.min_count for choice in choices]))
                job_id, index = job_of_key(key), made.pending.index(job_of_key(key), taken)
                right = self._standings.may_claim(Job((job_id, index), queue_id, amounts, priority_of_key(key)))
                if right.rank_above is not None or right.own_below is not None:
                    break
            else:
                return
            excluded = made.pending.excluded(job_id, index)
            elements = [(job_id, index)]
            if apart and not excluded:
                elements = self._equals(line, position, taken, max(1, self._standings.core_room(queue_id, amounts, priority_of_key(key))))
            only = tuple(Choices(choice.group, ((way,),)) for choice, way in zip(choices, ways, strict=True))
            claim = Claim(only, shape.constraints, apart, len(elements), excluded)
            before = int(table.position[line]), int(table.taken[line])
            yield _Claimant(queue_id, line, tuple(elements), amounts, ways, claim, right)
            if before != (int(table.position[line]), int(table.taken[line])):
                position, taken = int(table.position[line]), int(table.taken[line])
                continue
            for _ in elements:
                taken += 1
                if taken >= table.pool[tables.STARTABLE, int(table.start[line]) + position]:
                    position, taken = position + 1, 0

    def _equals(self, line: int, position: int, taken: int, most: int) -> list[tuple[int, int]]:
        """Elements from here on that are of the same priority and avoid no nodes."""
        made, table = self._made, self._made.lines
        found: list[tuple[int, int]] = []
        priority = None
        while position < table.length[line] and len(found) < most:
            at = int(table.start[line]) + position
            key = int(table.pool[tables.KEY, at])
            avoids = int(table.pool[tables.FLAGS, at]) & tables.AVOIDS_NODES
            if priority not in (None, priority_of_key(key)) or (avoids and found):
                break
            priority = priority_of_key(key)
            job_id = job_of_key(key)
            while taken < table.pool[tables.STARTABLE, at] and len(found) < most:
                found.append((job_id, made.pending.index(job_id, taken)))
                taken += 1
                if avoids:
                    return found
            position, taken = position + 1, 0
        return found

    # One claim -----------------------------------------------------------------------------------------------------

    def _serve(self, claimant: _Claimant) -> bool:
        """Make room for a claim, or for as much of it as there is. False: nothing more of its line."""
        if self._made.lines.cause[claimant.line] == 0 and self._fits_now(claimant.queue_id, replace(claimant.claim, count=1)):
            return self._start(claimant)
        victims, holdings = self._victims(claimant)
        if not self._made.barred.refused.isdisjoint(claimant.elements):
            victims, holdings = [], Holdings(self._fleet, [])
        charges = partial(self._charges, claimant.queue_id, victims, {})

        def search(count: int) -> Search:
            return Search(self._room, replace(claimant.claim, count=count), holdings, victims, charges)

        count = self._most(claimant, search, len(victims))
        gone = search(count).least() if count else None
        if gone is None:
            return False
        self._grant(claimant, claimant.elements[:count], search(count), gone, victims)
        return count == claimant.claim.count

    @staticmethod
    def _most(claimant: _Claimant, search: Callable[[int], Search], victims: int) -> int:
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

    def _start(self, claimant: _Claimant) -> bool:
        """Now, from what is free. What else of its line was to be claimed with it is looked at again."""
        made = self._made
        start = made.start_head(claimant.line)
        if start is None:
            return False
        holds = Holdings(self._fleet, [LiveAttempt(start.job_id, start.index, start.queue_id, start.runs)])
        self._room = without(self._room, holds, np.ones(1, np.bool_), sign=-1)
        self._ledger.take(start.queue_id, charge_of(start.runs), 1)
        amounts = self._counted(charge_of(start.runs))
        self._standings.start(Job((start.job_id, start.index), start.queue_id, amounts, self._priority(start.job_id), made.now_seconds))
        return True

    def _fits_now(self, queue_id: int, claim: Claim) -> bool:
        nobody = Holdings(self._fleet, [])

        def allowed(_: Mask, variants: tuple[Variant, ...], counts: tuple[int, ...]) -> bool:
            return self._made.ledger.allows(queue_id, charge_of_counts(variants, counts))

        return Search(without(self._made.room, nobody, np.zeros(0, np.bool_)), claim, nobody, (), allowed).fits(np.zeros(0, np.bool_))

    def _victims(self, claimant: _Claimant) -> tuple[list[Victim], Holdings]:
        """Who may be stopped for it, the first to give way first."""
        right = claimant.right
        own = claimant.queue_id if right.own_below is not None else None
        name = right.rank_above, own, right.own_below, claimant.queue_id, len(self._result.evictions), len(self._result.reservations)
        if self._known is not None and self._known[0] == name:
            return self._known[1], self._known[2]
        found: list[Victim] = []
        if right.rank_above is not None:
            for job in self._standings.bonus(claimant.queue_id, right.rank_above):
                self._add(found, self._live.get(job.id), self._standings.rank_of(job), own=False)
        for attempt in self._made.snapshot.queues.attempts.get(claimant.queue_id, {}).values() if own is not None else ():
            if attempt.priority < (right.own_below or 0):
                self._add(found, attempt, 0, own=True)
        found.sort(key=lambda victim: victim.order)
        holdings = Holdings(self._fleet, [victim.attempt for victim in found])
        self._known = name, found, holdings
        return found, holdings

    def _add(self, found: list[Victim], attempt: LiveAttempt | None, rank: int, *, own: bool) -> None:
        barred = self._made.barred
        if attempt is None or barred.everybody or (attempt.job_id, attempt.index) in barred.spared:
            return
        if (attempt.job_id, attempt.index) in self._stopped():
            return
        moment = may_be_stopped_at(attempt, self._made.policy)
        if moment is None:
            return
        if moment > self._made.now_seconds:
            until = self._result.until_seconds
            self._result.until_seconds = moment if until is None else min(until, moment)
        else:
            found.append(Victim.of(attempt, rank, own, self._made.now_seconds))

    def _stopped(self) -> set[tuple[int, int]]:
        return {(eviction.job_id, eviction.index) for eviction in self._result.evictions}

    def _charges(
        self,
        queue_id: int,
        victims: list[Victim],
        known: dict[object, bool],
        gone: Mask,
        variants: tuple[Variant, ...],
        counts: tuple[int, ...],
    ) -> bool:
        """Whether every ceiling has room for the claim once these are gone."""
        number, needs = self._ledger.number[queue_id], self._ledger.needs(charge_of_counts(variants, counts))
        name = needs.tobytes()
        if name not in known:
            known[name] = bool(twin(allows)(self._ledger.table, number, needs, 1))
        if known[name] or not gone.any():
            return known[name]
        after = self._ledger.copy()
        for victim in (victims[at] for at in np.flatnonzero(gone).tolist()):
            after.take(victim.attempt.queue_id, charge_of(victim.attempt.runs), -1)
        return bool(twin(allows)(after.table, number, needs, 1))

    def _grant(self, claimant: _Claimant, elements: tuple[tuple[int, int], ...], search: Search, gone: Mask, victims: list[Victim]) -> None:
        made = self._made
        self._room, pieces = search.placed(gone)
        on = self._by_row(elements, pieces, claimant.claim.apart)
        chosen = [victims[at] for at in np.flatnonzero(gone).tolist()]
        if chosen and not claimant.core:
            self._result.beyond += elements
        for victim in chosen:
            attempt = victim.attempt
            rows = [self._fleet.row_of.get(run.node_id, -1) for run in attempt.runs]
            for_job = min((on[row] for row in rows if row in on), default=0)
            self._result.evictions.append(
                Eviction(attempt.job_id, attempt.index, victim.reason, elements[for_job][0], claimant.queue_id, victim.lost_seconds)
            )
            self._standings.stop((attempt.job_id, attempt.index))
            self._ledger.take(attempt.queue_id, charge_of(attempt.runs), -1)
        for piece in (piece for group in pieces for piece in group):
            made.room.withhold(piece)
        amounts = charge_of_counts(claimant.variants, [choice.group.min_count for choice in claimant.claim.choices])
        for number, (job_id, index) in enumerate(elements):
            nodes = sorted({int(self._fleet.ids[row]) for row, first in on.items() if first == number or not claimant.claim.apart})
            self._result.reservations.append(Reservation(job_id, index, made.now_seconds, tuple(nodes)))
            priority = self._priority(job_id)
            self._standings.start(Job((job_id, index), claimant.queue_id, claimant.amounts, priority, made.now_seconds))
        self._ledger.take(claimant.queue_id, amounts, len(elements))
        made.ledger.take(claimant.queue_id, amounts, len(elements))
        made.lines.cause[claimant.line] = tables.NO_ROOM

    @staticmethod
    def _by_row(elements: tuple[tuple[int, int], ...], pieces: tuple[tuple[Piece, ...], ...], apart: bool) -> dict[int, int]:
        """For each node the number of the first element that goes there."""
        on: dict[int, int] = {}
        number = 0
        for piece in (piece for group in pieces for piece in group):
            on.setdefault(piece.row, min(number, len(elements) - 1) if apart else 0)
            number += piece.tasks
        return on


def _ways(choices: tuple[Choices, ...]) -> range:
    return range(max((len(choice.variants) for choice in choices), default=0)) if all(choice.variants for choice in choices) else range(0)
