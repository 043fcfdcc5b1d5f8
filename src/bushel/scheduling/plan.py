"""`plan(snapshot, now, policy)`: which elements start now, on which nodes, and what keeps every other one waiting.

Guarantees: a pure function; the same contents give the same plan, however the snapshot came about. No node and no device is
over-committed, no limit of a queue or an array passed, a gang starts whole or not at all, every constraint of a document
holds. An element waits only if a quota, the room left by those ahead of it, or nodes kept for one that waited long say so.

The rules, a module each: `order` who is next · `arrays` which indices · `quota` how much a queue may hold · `feasibility`
which nodes are allowed · `fit` and `gangs` which of them is taken · `backfill` what a large job that does not fit gets.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from bushel.scheduling.arrays import Cursor, Element
from bushel.scheduling.backfill import KeptFree, fits_empty, keep_free
from bushel.scheduling.decisions import Cause, Eviction, Growth, Reservation, Start, Waiting
from bushel.scheduling.entities import Run, ShapeClass
from bushel.scheduling.feasibility import Choices, NodeCount, Variant, choices_of, count_obstacles
from bushel.scheduling.fit import Piece, Room, pack_singly
from bushel.scheduling.fleet import Integers
from bushel.scheduling.gangs import place_gang
from bushel.scheduling.lines import job_of_key
from bushel.scheduling.order import Turns
from bushel.scheduling.quota import Ledger, OverQuota, add_charge
from bushel.scheduling.snapshot import Snapshot

__all__ = ["Cause", "Plan", "Policy", "Start", "Waiting", "plan"]

_BURST_GROWTH = 8
"""A line whose head does not fit is asked for one element only; one that goes on fitting, for eight times as many each turn."""


@dataclass(frozen=True, slots=True)
class Policy:
    """`starts_limit`: most elements one plan starts; the next plan goes on. `patience_seconds`: see `backfill`."""

    starts_limit: int = 1000
    patience_seconds: float = 600.0


@dataclass(frozen=True)
class Plan:
    """`complete`: everything was looked at. `revisit_at_seconds`: when time alone would change the plan, in seconds since 1970."""

    starts: tuple[Start, ...]
    waiting: tuple[Waiting, ...]
    kept_free: KeptFree | None
    complete: bool
    revisit_at_seconds: float | None
    snapshot: Snapshot = field(repr=False)
    room: Room = field(repr=False)
    ledger: Ledger = field(repr=False)
    evictions: tuple[Eviction, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    growths: tuple[Growth, ...] = ()

    @cached_property
    def starting_jobs(self) -> dict[int, list[Start]]:
        found: dict[int, list[Start]] = {}
        for start in self.starts:
            found.setdefault(start.job_id, []).append(start)
        return found

    def obstacles(self, shape: ShapeClass) -> dict[str, tuple[NodeCount, ...]]:
        """For each group: why nodes cannot hold one more of its tasks, once everything in this plan has started."""
        return {group.name: count_obstacles(self.snapshot.fleet, shape, group, self.room) for group in shape.groups}


def plan(snapshot: Snapshot, now: datetime, policy: Policy) -> Plan:
    """Decide. Reads the snapshot, changes nothing in it."""
    return _Planning(snapshot, now.timestamp(), policy).run()


class _Planning:
    """The state of one plan while it is made."""

    def __init__(self, snapshot: Snapshot, now_seconds: float, policy: Policy) -> None:
        self.snapshot = snapshot
        self.fleet = snapshot.fleet
        self.now_seconds = now_seconds
        self.policy = policy
        self.ledger = Ledger(snapshot.queues)
        self.room = Room(snapshot.fleet)
        self.starts: list[Start] = []
        self.waiting: list[Waiting] = []
        self.kept_free: KeptFree | None = None
        self.revisit: float | None = None
        self._full: set[ShapeClass] = set()
        self._charges: dict[tuple[int, tuple[str | None, ...], tuple[int, ...]], dict[str, int]] = {}

    def run(self) -> Plan:
        turns = Turns(self.snapshot.lines, self.snapshot.queues, self.ledger, self.fleet)
        while len(self.starts) < self.policy.starts_limit and (cursor := turns.next()) is not None:
            if self._serve(turns, cursor):
                turns.again(cursor)
            else:
                turns.pass_on(cursor.line.queue_id)
        rest = turns.rest()
        for cursor in rest:
            self._wait(cursor, Cause.NOT_REACHED)
        return Plan(tuple(self.starts), tuple(self.waiting), self.kept_free, not rest, self.revisit, self.snapshot, self.room, self.ledger)

    def _serve(self, turns: Turns, cursor: Cursor) -> bool:
        """Start what may start of a line's turn. False: the line is done for this plan."""
        shape = cursor.line.shape
        choices = choices_of(self.fleet, shape)
        if any(not choice.ranks for choice in choices):
            self._wait(cursor, Cause.NO_NODE)
            return False
        if shape in self._full:
            self._wait(cursor, Cause.NO_ROOM)
            return False
        charge = self._charge(shape, tuple(choice.variants[0] for choice in choices), tuple(choice.group.count for choice in choices))
        most = min(self.policy.starts_limit - len(self.starts), cursor.burst)
        elements = turns.upcoming(cursor, most, charge)
        excluded = elements[0].excluded
        if excluded and not fits_empty(self.room, choices, shape.constraints, excluded):
            excluded = frozenset()  # it has failed everywhere it could run: better there again than never
        placed = self._place(cursor, choices, elements, excluded)
        cursor.advance(placed)
        if placed == len(elements):
            cursor.burst *= _BURST_GROWTH
            return cursor.head is not None
        return self._blocked(cursor, choices, elements[placed], excluded)

    def _place(self, cursor: Cursor, choices: tuple[Choices, ...], elements: list[Element], excluded: frozenset[int]) -> int:
        """Start as many of `elements` as fit, in order. Returns how many."""
        if cursor.line.shape.task_count == 1:
            return self._place_singly(cursor, choices[0], elements, excluded)
        placed = 0
        queue_id, shape = cursor.line.queue_id, cursor.line.shape

        def allowed(variants: tuple[Variant, ...], counts: tuple[int, ...]) -> bool:
            return self.ledger.allows(queue_id, self._charge(shape, variants, counts), 1) == 1

        for element in elements:
            placement = place_gang(self.room, choices, shape.constraints, allowed, excluded)
            if placement is None:
                break
            counts = tuple(sum(piece.tasks for piece in pieces) for pieces in placement.pieces)
            variants = tuple(
                pieces[0].variant if pieces else choice.variants[0] for pieces, choice in zip(placement.pieces, choices, strict=True)
            )
            self.ledger.take(queue_id, self._charge(shape, variants, counts), 1)
            self._start(cursor, element, _runs(self.fleet.ids, choices, placement.pieces), placement.pieces)
            placed += 1
        return placed

    def _place_singly(self, cursor: Cursor, choice: Choices, elements: list[Element], excluded: frozenset[int]) -> int:
        queue_id, shape = cursor.line.queue_id, cursor.line.shape
        placed = 0

        def grant(variant: Variant, tasks: int) -> int:
            charge = self._charge(shape, (variant,), (1,))
            tasks = self.ledger.allows(queue_id, charge, tasks)
            if tasks:
                self.ledger.take(queue_id, charge, tasks)
            return tasks

        for variants in choice.ranks:
            if all(self.room.hopeless(variant) for variant in variants):
                continue
            for piece in pack_singly(self.room, variants, len(elements) - placed, grant, excluded):
                node_id, amounts = int(self.fleet.ids[piece.row]), piece.variant.amounts
                cluster = self.fleet.clusters[int(self.fleet.cluster_ids[piece.row])]
                shared = (Run(choice.group.name, 0, 1, node_id, amounts),)
                for number in range(piece.tasks):
                    element = elements[placed]
                    placed += 1
                    runs = (Run(choice.group.name, 0, 1, node_id, amounts, (piece.devices[number],)),) if piece.devices else shared
                    self.starts.append(Start(element.job_id, element.index, queue_id, cluster.id, cluster.epoch, runs))
            if placed == len(elements):
                break
        return placed

    def _start(self, cursor: Cursor, element: Element, runs: tuple[Run, ...], pieces: tuple[tuple[Piece, ...], ...]) -> None:
        row = next(piece.row for group in pieces for piece in group)
        cluster = self.fleet.clusters[int(self.fleet.cluster_ids[row])]
        self.starts.append(Start(element.job_id, element.index, cursor.line.queue_id, cluster.id, cluster.epoch, runs))

    def _blocked(self, cursor: Cursor, choices: tuple[Choices, ...], element: Element, excluded: frozenset[int]) -> bool:
        """Note why `element` cannot start. True: only it cannot, the line goes on behind it."""
        shape = cursor.line.shape
        over_quota = self._over_quota(cursor.line.queue_id, choices)
        if all(over_quota):
            self._wait(cursor, Cause.QUOTA, over_quota[0])
            return False
        if self.kept_free is None:
            due = element.submitted_micros / 1e6 + self.policy.patience_seconds
            if due <= self.now_seconds:
                self.kept_free = keep_free(self.room, choices, shape.constraints, element.job_id, element.index, excluded)
            elif self.revisit is None or due < self.revisit:
                self.revisit = due
        if excluded:
            self.waiting.append(Waiting(cursor.line.queue_id, shape, Cause.NO_ROOM, element.job_id, 1, 1))
            cursor.advance(1)
            return cursor.head is not None
        if not any(over_quota):  # or another queue may have quota for a model that this one has none for
            self._full.add(shape)
        self._wait(cursor, Cause.NO_ROOM)
        return False

    def _over_quota(self, queue_id: int, choices: tuple[Choices, ...]) -> list[OverQuota | None]:
        """For each way to meet the request: the limit in its way, if any."""
        ways = max(len(choice.variants) for choice in choices)
        least = tuple(choice.group.min_count for choice in choices)
        return [
            self.ledger.in_the_way(queue_id, _charge_of(tuple(c.variants[min(way, len(c.variants) - 1)] for c in choices), least))
            for way in range(ways)
        ]

    def _charge(self, shape: ShapeClass, variants: tuple[Variant, ...], counts: tuple[int, ...]) -> dict[str, int]:
        """As `_charge_of`, remembered by shape: those of the lines live as long as the plan is being made."""
        name = (id(shape), tuple(variant.model for variant in variants), counts)
        if name not in self._charges:
            self._charges[name] = _charge_of(variants, counts)
        return self._charges[name]

    def _wait(self, cursor: Cursor, cause: Cause, over_quota: OverQuota | None = None) -> None:
        head = cursor.head
        if head is not None:
            jobs, elements = cursor.remaining()
            self.waiting.append(Waiting(cursor.line.queue_id, cursor.line.shape, cause, job_of_key(head.key), jobs, elements, over_quota))


def _charge_of(variants: tuple[Variant, ...], counts: tuple[int, ...]) -> dict[str, int]:
    """What one element with these counts takes of its queue's quota."""
    charge: dict[str, int] = {}
    for variant, count in zip(variants, counts, strict=True):
        add_charge(charge, variant.amounts, count)
    return charge


def _runs(ids: Integers, choices: tuple[Choices, ...], pieces: tuple[tuple[Piece, ...], ...]) -> tuple[Run, ...]:
    """Ranks in the order of the groups, neighbours on neighbouring nodes."""
    runs: list[Run] = []
    rank = 0
    for choice, group in zip(choices, pieces, strict=True):
        for piece in group:
            node_id = int(ids[piece.row])
            runs.append(Run(choice.group.name, rank, rank + piece.tasks, node_id, piece.variant.amounts, piece.devices))
            rank += piece.tasks
    return tuple(runs)
