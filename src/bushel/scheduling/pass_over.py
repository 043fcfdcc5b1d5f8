"""One pass over all queues: the kernel serves what is one task each; gangs, and elements that avoid nodes, are served here.

Guarantees: both take from the same columns of what is free and charge the same ledger, in one order.
"""

from __future__ import annotations

import math
from functools import cached_property, partial

import numpy as np

from bushel.scheduling.arrays import PendingIndices
from bushel.scheduling.backfill import KeptFree, fits_empty, keep_free
from bushel.scheduling.decisions import Cause, Waiting
from bushel.scheduling.entities import Run, ShapeClass
from bushel.scheduling.fairness import Shares
from bushel.scheduling.feasibility import Choices, Variant, charge_of_counts, choices_of
from bushel.scheduling.fit import Piece, Room
from bushel.scheduling.fleet import Integers
from bushel.scheduling.gangs import place_gang
from bushel.scheduling.kernels import tables
from bushel.scheduling.kernels.mode import twin
from bushel.scheduling.kernels.rows import capacity_of, catch_up, has_model, slot_of, take
from bushel.scheduling.kernels.serve import advance, begin, charge, choose, left_over_lines, serve, waited_long
from bushel.scheduling.kernels.serve import allows as kernel_allows
from bushel.scheduling.kernels.tables import NEVER, Heap, LineTable, Record
from bushel.scheduling.lines import job_of_key
from bushel.scheduling.order import entitle, entitlements_decide, stretch_by_history
from bushel.scheduling.policy import Policy
from bushel.scheduling.quota import Ledger, OverQuota, charge_of
from bushel.scheduling.reclaim import NOTHING_BARRED, Barred, Reclaimed, reclaim
from bushel.scheduling.record import LinesLeft, Places, Starts, Waits
from bushel.scheduling.snapshot import Snapshot

_LONG_AGO = -(1 << 62)
_NEVER_MICROS = 1 << 62


class Pass:
    """The state of one plan while it is made."""

    def __init__(self, snapshot: Snapshot, now_seconds: float, policy: Policy, barred: Barred = NOTHING_BARRED) -> None:
        self.snapshot, self.fleet, self.policy, self.barred = snapshot, snapshot.fleet, policy, barred
        self.now_seconds = now_seconds
        self.kept_free: KeptFree | None = None
        self.complete = True
        self.space = space = snapshot.workspace
        lines = snapshot.lines
        some = lines.filled()
        self._filled = some.lines
        most = min(policy.starts_limit, int(some.elements.sum()))
        self._window_until = space.begin(self.fleet, lines, now_seconds, most)
        self.room = Room(self.fleet, space.nodes, space)
        space.lend(self.room)
        self.classes = space.classes(self.fleet, np.flatnonzero(some.by_class).tolist())
        capacity = self._capacity()
        self.ledger = Ledger(snapshot.queues, some.queues, self.fleet.column_of, capacity)
        self.entitle = partial(entitle, space.fair, self.ledger, snapshot.queues, lines, self.classes, space.ways.table, capacity)
        self._compared = entitlements_decide(snapshot.queues, lines, policy.reclaim)
        if self._compared:
            stretch_by_history(self.ledger, snapshot.queues, self.shares, now_seconds, policy.half_life_seconds)
        else:
            self.ledger.table.entitled[:] = tables.UNBOUNDED
        self.lines = self._line_table()
        self.heap = Heap(np.zeros(len(self.ledger.ids) + 1, np.int64), np.zeros(len(self.ledger.ids) + 1, np.int32))
        self.record = Record(
            np.zeros(most, np.int64),
            np.zeros(most, np.int64),
            np.zeros(most, np.int32),
            np.zeros(most, np.int32),
            np.zeros(most, np.int32),
            np.zeros(most, np.int64),
        )
        self.pending = PendingIndices(lines)
        self._apart: dict[int, tuple[Run, ...]] = {}
        self._waiting: list[Waiting] = []
        state = space.state
        state[tables.STARTED], state[tables.START_LIMIT] = 0, most
        state[tables.OVERDUE_MICROS] = _micros(now_seconds - policy.patience_seconds)
        state[tables.REVISIT_MICROS], state[tables.KEEPING] = _NEVER_MICROS, 0
        state[tables.CORE_ONLY] = policy.reclaim
        self.reclaimed = Reclaimed()

    @cached_property
    def shares(self) -> Shares:
        return self.entitle()

    def _capacity(self) -> Integers:
        """Of the nodes that may be used, and what is held on others."""
        fleet = self.fleet
        total = np.zeros(len(fleet.capacity), np.int64)
        twin(capacity_of)(fleet.capacity, fleet.used, fleet.usable, total)
        return total

    def _line_table(self) -> LineTable:
        lines, count = self.snapshot.lines, self.snapshot.lines.count
        entries, table = lines.entries, self.ledger.table
        numbers = np.array([self.ledger.number.get(queue_id, -1) for queue_id in lines.known_queues], np.int64)
        known = np.flatnonzero(numbers >= 0)
        table.first[numbers[known]], table.left[numbers[known]] = entries.first[known], entries.used[known]
        return LineTable(
            entries.line.copy(),
            entries.klass.copy(),
            entries.key.copy(),
            lines.klass[:count],
            lines.start[:count],
            lines.length[:count],
            np.zeros(count, np.int64),
            np.zeros(count, np.int64),
            np.zeros(count, np.int8),
            lines.pool,
        )

    # The pass ------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        space, state, ways = self.space, self.space.state, self.space.ways.table
        twin(begin)(self.ledger.table, self.lines, self.classes, self.heap, state)
        while True:
            why = twin(serve)(
                space.nodes,
                ways,
                space.rows(),
                space.log,
                self.classes,
                self.ledger.table,
                self.lines,
                self.heap,
                self.record,
                state,
            )
            if why == tables.CORE_SERVED or (why == tables.DONE and state[tables.CORE_ONLY]):
                state[tables.CORE_ONLY] = 0
                self.reclaimed = reclaim(self) if self._compared else Reclaimed()
            if why == tables.DONE:
                return
            if why == tables.CORE_SERVED:
                continue
            if why == tables.FULL:
                self.complete = False
                return
            line = int(state[tables.LINE])
            if why == tables.BLOCKED:
                self._keep_free(line, frozenset())
            else:
                self._serve_apart(line)

    def start_head(self, line: int) -> tuple[Run, ...]:
        """Start the next of this line out of its queue's turn, if it fits. Where it lies."""
        space, state = self.space, self.space.state
        before, queue = int(state[tables.STARTED]), int(state[tables.QUEUE])
        if before >= state[tables.START_LIMIT]:
            return ()
        state[tables.QUEUE] = self.ledger.number[self._queue_id(line)]
        self._serve_apart(line)
        state[tables.QUEUE] = queue
        if state[tables.STARTED] == before:
            return ()
        way, row, devices = (int(column[before]) for column in (self.record.way, self.record.row, self.record.devices))
        bits = (tuple(bit for bit in range(devices.bit_length()) if devices >> bit & 1),) if devices else ()
        return self._apart.get(before) or (Run(space.ways.group_names[way], 0, 1, int(self.fleet.ids[row]), space.ways.amounts[way], bits),)

    def started(self) -> tuple[Integers, Integers, Integers, Integers]:
        """Jobs, indices, numbers of queues, and what each counts against its queue, by columns of the ledger."""
        count, record = int(self.space.state[tables.STARTED]), self.record
        amounts = self.space.ways.table.needs[record.way[:count]].T.copy()
        for at, runs in self._apart.items():
            amounts[:, at] = self.ledger.needs(charge_of(runs))
        queues = [self.ledger.number[queue_id] for queue_id in self.snapshot.lines.queue_ids[record.line[:count]].tolist()]
        jobs = record.job[:count]
        return jobs, self.pending.indices(jobs, record.ordinal[:count]), np.array(queues, np.int64), amounts

    def _serve_apart(self, line: int) -> None:
        """The head of a line that the kernel does not serve."""
        shape = self._shape(line)
        job_id, index = self.head(line)
        excluded = self.pending.excluded(job_id, index)
        choices = choices_of(self.fleet, shape)
        if any(not choice.ranks for choice in choices):
            self.lines.cause[line] = tables.NO_NODE
            return
        if excluded and not fits_empty(self.room, choices, shape.constraints, excluded):
            excluded = frozenset()  # it has failed everywhere it could run: better there again than never
        alone = self.classes.kind[self.lines.klass[line]] == tables.SINGLE
        if not (self._start_single(line, excluded) if alone else self._start_gang(line, shape, choices, excluded)):
            self._blocked(line, shape, choices, excluded)

    def _start_single(self, line: int, excluded: frozenset[int]) -> bool:
        space, table = self.space, self.ledger.table
        queue, klass = int(space.state[tables.QUEUE]), int(self.lines.klass[line])
        ways = space.ways.table
        if not excluded:
            way, row, _ = twin(choose)(space.nodes, ways, space.rows(), space.log, self.classes, table, space.state, queue, klass)
        else:
            way, row = self._choose_elsewhere(queue, klass, excluded)
        if way < 0:
            return False
        devices = twin(take)(space.nodes, ways, space.log, way, row)
        twin(charge)(table, queue, ways.needs[way], 1)
        self._note_start(line, way, row, devices)
        return True

    def _choose_elsewhere(self, queue: int, klass: int, excluded: frozenset[int]) -> tuple[int, int]:
        """As the kernel chooses, but on none of these nodes."""
        space = self.space
        ways = space.ways.table
        avoided = np.isin(self.fleet.ids, list(excluded))
        best: tuple[int, int, int, int, int] | None = None
        for way in range(self.classes.first[klass], self.classes.stop[klass]):
            if not twin(kernel_allows)(self.ledger.table, queue, ways.needs[way], 1):
                continue
            keys = np.where(avoided, NEVER, self._keys(way))
            row = int(np.lexsort((space.nodes.tie, keys))[0]) if len(keys) else 0
            if len(keys) and keys[row] < NEVER:
                found = (int(ways.rank[way]), int(keys[row]), int(space.nodes.tie[row]), way, row)
                best = found if best is None or found < best else best
        return (-1, -1) if best is None else (best[3], best[4])

    def _keys(self, way: int) -> Integers:
        """Of every node."""
        space = self.space
        ways, rows, nodes = space.ways.table, space.rows(), space.nodes
        slot, model = twin(slot_of)(rows, space.state, way), int(ways.model[way])
        keys = np.full(len(nodes.place), NEVER, np.int64)
        for group in range(len(rows.models)):
            if model < 0 or twin(has_model)(rows, group, model):
                twin(catch_up)(nodes, ways, rows, space.log, space.state, way, slot, group)
                there = np.flatnonzero((nodes.group == group) & (nodes.place >= 0))
                keys[there] = rows.keys[slot, nodes.place[there]]
        return keys

    def _start_gang(self, line: int, shape: ShapeClass, choices: tuple[Choices, ...], excluded: frozenset[int]) -> bool:
        queue_id = self._queue_id(line)

        def allowed(variants: tuple[Variant, ...], counts: tuple[int, ...]) -> bool:
            return self.ledger.allows(queue_id, charge_of_counts(variants, counts))

        placement = place_gang(self.room, choices, shape.constraints, allowed, excluded)
        if placement is None:
            return False
        counts = tuple(sum(piece.tasks for piece in pieces) for pieces in placement.pieces)
        variants = tuple(
            pieces[0].variant if pieces else choice.variants[0] for pieces, choice in zip(placement.pieces, choices, strict=True)
        )
        self.ledger.take(queue_id, charge_of_counts(variants, counts), 1)
        self._apart[int(self.space.state[tables.STARTED])] = _runs(self.fleet.ids, choices, placement.pieces)
        self._note_start(line, -1, next(piece.row for pieces in placement.pieces for piece in pieces), 0)
        return True

    def _note_start(self, line: int, way: int, row: int, devices: int) -> None:
        state, record = self.space.state, self.record
        at = int(state[tables.STARTED])
        record.job[at], record.ordinal[at], record.line[at] = self._head_job(line), self.lines.taken[line], line
        record.way[at], record.row[at], record.devices[at] = way, row, devices
        state[tables.STARTED] = at + 1
        twin(advance)(self.lines, line)

    def _blocked(self, line: int, shape: ShapeClass, choices: tuple[Choices, ...], excluded: frozenset[int]) -> None:
        """Note why the head of `line` cannot start, and keep nodes free for it if it has waited long."""
        over_quota = self._over_quota(self._queue_id(line), choices)
        if all(over_quota):
            self.lines.cause[line] = tables.QUOTA
            return
        if twin(waited_long)(self.lines, self.space.state, line):
            self._keep_free(line, excluded)
        if not excluded:
            self.lines.cause[line] = tables.NO_ROOM
            if not any(over_quota):  # or another queue may have quota for a model that this one has none for
                self.classes.full[self.lines.klass[line]] = True
        else:  # only this element cannot; the line goes on behind it
            self._waiting.append(Waiting(self._queue_id(line), shape, Cause.NO_ROOM, self._head_job(line), 1, 1))
            twin(advance)(self.lines, line)

    def _keep_free(self, line: int, excluded: frozenset[int]) -> None:
        shape = self._shape(line)
        job_id, index = self.head(line)
        self.kept_free = keep_free(self.room, choices_of(self.fleet, shape), shape.constraints, job_id, index, excluded)
        self.space.state[tables.KEEPING] = self.kept_free is not None

    def _over_quota(self, queue_id: int, choices: tuple[Choices, ...]) -> list[OverQuota | None]:
        """For each way to meet the request: the limit in its way, if any."""
        ways = max(len(choice.variants) for choice in choices)
        least = tuple(choice.group.min_count for choice in choices)
        return [
            self.ledger.in_the_way(queue_id, charge_of_counts(tuple(c.variants[min(way, len(c.variants) - 1)] for c in choices), least))
            for way in range(ways)
        ]

    # Lines ---------------------------------------------------------------------------------------------------------

    def _shape(self, line: int) -> ShapeClass:
        return self.snapshot.lines.shapes.shapes[self.lines.klass[line]]

    def _queue_id(self, line: int) -> int:
        return int(self.snapshot.lines.queue_ids[line])

    def _head_job(self, line: int) -> int:
        return job_of_key(int(self.lines.pool[tables.KEY, self.lines.start[line] + self.lines.position[line]]))

    def head(self, line: int) -> tuple[int, int]:
        """Job and index."""
        job_id = self._head_job(line)
        return job_id, self.pending.index(job_id, int(self.lines.taken[line]))

    # What came of it -----------------------------------------------------------------------------------------------

    def starts(self) -> Starts:
        count = int(self.space.state[tables.STARTED])
        record, fleet = self.record, self.fleet
        rows = record.row[:count]
        places = Places(fleet.ids[rows], fleet.cluster_ids[rows], {cluster.id: cluster.epoch for cluster in fleet.clusters.values()})
        names = self.space.ways.group_names
        return Starts(
            count,
            record,
            self.pending.indices(record.job[:count], record.ordinal[:count]),
            self.snapshot.lines.queue_ids[record.line[:count]],
            places,
            names,
            self.space.ways.amounts,
            self._apart,
        )

    def waits(self) -> Waits:
        lines, table = self.snapshot.lines, self.lines
        elements, filled = lines.elements[: len(table.length)].copy(), self._filled
        np.subtract.at(elements, self.record.line[: int(self.space.state[tables.STARTED])], 1)
        for waiting in self._waiting:
            number = lines.number_of(waiting.queue_id, waiting.shape)
            elements[number if number is not None else 0] -= 1
        left, cause, first, jobs, counts = (np.zeros(len(filled), np.int64) for _ in range(5))
        found = twin(left_over_lines)(table, filled, elements, left, cause, first, jobs, counts)
        left = left[:found]
        columns = LinesLeft(
            lines.queue_ids[left], lines.shapes.shapes, table.klass[left], cause[:found], first[:found], jobs[:found], counts[:found]
        )
        return Waits(columns, self._waiting, self._first_over_quota)

    def _first_over_quota(self, queue_id: int, shape: ShapeClass) -> OverQuota | None:
        return next(filter(None, self._over_quota(queue_id, choices_of(self.fleet, shape))), None)

    def revisit_at_seconds(self) -> float | None:
        moments = [moment for moment in (self._window_until, self.reclaimed.until_seconds) if moment is not None]
        submitted = int(self.space.state[tables.REVISIT_MICROS])
        if submitted < _NEVER_MICROS:
            moments.append(submitted / 1e6 + self.policy.patience_seconds)
        return min(moments, default=None)


def _micros(seconds: float) -> int:
    return _LONG_AGO if seconds < -1e12 else math.floor(seconds * 1e6)


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
