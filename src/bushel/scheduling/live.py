"""What runs, in columns, for deciding who gives way to whom.

Guarantees: after `follow` the columns are what the fleet's live attempts are, whatever the order in which they came and went; following
costs what has changed. A slot is an attempt, an entry is what it holds on one node. Which slot an attempt has depends on history and
decides nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bushel.domain.resources import GPU_PREFIX
from bushel.scheduling.entities import LiveAttempt, Run
from bushel.scheduling.fleet import DEVICE_MILLI, Devices, Fleet, Integers
from bushel.scheduling.victims import Holdings, above_minimum

_NUMBERS = ("job", "index", "queue_id", "priority", "preemptions", "tasks", "gpu")
_MOMENTS = ("started", "saved", "least")
_FLAGS = ("alive", "preemptible", "stopping", "grown")


class LiveColumns:
    """Of one fleet, which tells it what has changed (`Fleet.live`)."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._stale: dict[tuple[int, int], None] = dict.fromkeys(fleet.attempts)
        self._forget()

    def _forget(self) -> None:
        self.slot_of: dict[tuple[int, int], int] = {}
        self._spare: list[int] = []
        self.job = self.index = self.queue_id = self.priority = self.preemptions = self.tasks = self.gpu = np.zeros(0, np.int64)
        self.started = self.saved = self.least = np.zeros(0, np.float64)
        self.alive = self.preemptible = self.stopping = self.grown = np.zeros(0, np.bool_)
        self._unpinned: dict[int, list[tuple[int, int]]] = {}  # slot → model and node of runs whose devices are not known
        width, models, devices = self._extent()
        self.amounts: Integers = np.zeros((width, 0), np.int64)
        self.who: Integers = np.zeros(0, np.int64)
        self._node: Integers = np.zeros(0, np.int64)
        self._row: Integers = np.zeros(0, np.int64)
        self._held: Integers = np.zeros((width, 0), np.int64)
        self._parts: Devices = np.zeros((models, 0, devices), np.int16)
        self._structure, self._shape = -1, (width, models, devices)

    def _extent(self) -> tuple[int, int, int]:
        fleet = self._fleet
        return len(fleet.column_of), len(fleet.model_of), fleet.devices_used.shape[2]

    # What is told --------------------------------------------------------------------------------------------------

    def changed(self, key: tuple[int, int]) -> None:
        self._stale[key] = None

    def follow(self) -> None:
        """Bring the columns up to date."""
        if self._shape != self._extent():
            self._forget()
            self._stale = dict.fromkeys(self._fleet.attempts)
        attempts = self._fleet.attempts
        gone = [slot for key in self._stale if (slot := self.slot_of.pop(key, None)) is not None]
        come = [attempts[key] for key in self._stale if key in attempts]
        self._stale = {}
        if gone:
            self.alive[gone] = False
            self._spare += gone
            for slot in gone:
                self._unpinned.pop(slot, None)
            kept = self.alive[self.who]
            self.who, self._node, self._row = self.who[kept], self._node[kept], self._row[kept]
            self._held, self._parts = self._held[:, kept], self._parts[:, kept]
        if come:
            self._put(come)
        if self._structure != self._fleet.structure or come:
            self._structure = self._fleet.structure
            row_of = self._fleet.row_of
            self._row = np.array([row_of.get(node_id, -1) for node_id in self._node.tolist()], np.int64)

    def _put(self, attempts: list[LiveAttempt]) -> None:
        if len(self._spare) < len(attempts):
            self._grow(max(64, len(self.alive), len(attempts)))
        slots = [self._spare.pop() for _ in attempts]
        entries: dict[tuple[int, int], int] = {}
        amounts: list[tuple[int, int, int]] = []
        parts: list[tuple[int, int, int, int]] = []
        for slot, attempt in zip(slots, attempts, strict=True):
            self.slot_of[attempt.job_id, attempt.index] = slot
            for run in attempt.runs:
                self._add(run, slot, entries.setdefault((slot, run.node_id), len(entries)), amounts, parts)
        at = np.array(slots, np.int64)
        rows = [_numbers(attempt) for attempt in attempts]
        for name, values in zip(_NUMBERS + _MOMENTS + _FLAGS, zip(*rows, strict=True), strict=True):
            getattr(self, name)[at] = values
        width, models, devices = self._shape
        who = np.array([slot for slot, _ in entries], np.int64)
        held, part = np.zeros((width, len(who)), np.int64), np.zeros((models, len(who), devices), np.int16)
        if amounts:
            column, entry, amount = np.array(amounts, np.int64).T
            np.add.at(held, (column, entry), amount)
        if parts:
            model, entry, device, amount = np.array(parts, np.int64).T
            np.add.at(part, (model, entry, device), amount)
        self.amounts[:, at] = 0
        np.add.at(self.amounts.T, who, held.T)
        self.gpu[at] = self.amounts[sorted(self._fleet.model_of)][:, at].sum(axis=0)
        self.who = np.concatenate([self.who, who])
        self._node = np.concatenate([self._node, np.array([node_id for _, node_id in entries], np.int64)])
        self._held, self._parts = np.concatenate([self._held, held], axis=1), np.concatenate([self._parts, part], axis=1)

    def _add(self, run: Run, slot: int, entry: int, amounts: list[tuple[int, int, int]], parts: list[tuple[int, int, int, int]]) -> None:
        fleet = self._fleet
        for name, amount in run.amounts.items():
            column = fleet.column_of.get(name)
            if column is None:  # on a node that is gone, of something that no node ever had
                continue
            amounts.append((column, entry, amount * (run.stop - run.first)))
            if name.startswith(GPU_PREFIX):
                model, part = fleet.model_of[column], min(amount, DEVICE_MILLI)
                parts.extend((model, entry, device, part) for devices in run.devices for device in devices)
                if not run.devices:
                    self._unpinned.setdefault(slot, []).append((model, run.node_id))

    def _grow(self, more: int) -> None:
        count = len(self.alive)
        for names, kind in ((_NUMBERS, np.int64), (_MOMENTS, np.float64), (_FLAGS, np.bool_)):
            for name in names:
                setattr(self, name, np.concatenate([getattr(self, name), np.zeros(more, kind)]))
        self.amounts = np.pad(self.amounts, ((0, 0), (0, more)))
        self._spare = [*range(count + more - 1, count - 1, -1), *self._spare]

    # What is asked -------------------------------------------------------------------------------------------------

    def charges(self, slots: Integers) -> Integers:
        """What each of these counts against its queue, by columns of the ledger."""
        return np.concatenate([self.amounts[:, slots], self.gpu[None, slots]])

    def holdings(self, slots: Integers) -> Holdings:
        """What these hold, numbered as they are here."""
        number = np.full(len(self.alive), -1, np.int64)
        number[slots] = np.arange(len(slots))
        mine = np.flatnonzero((number[self.who] >= 0) & (self._row >= 0)) if len(self.who) else np.zeros(0, np.int64)
        unpinned = [
            (int(number[slot]), model, row)
            for slot, runs in self._unpinned.items()
            if number[slot] >= 0
            for model, node_id in runs
            if (row := self._fleet.row_of.get(node_id)) is not None
        ]
        return Holdings.of_columns(
            self._fleet, number[self.who[mine]], self._row[mine], self._held[:, mine], self._parts[:, mine], sorted(unpinned)
        )


def _numbers(attempt: LiveAttempt) -> tuple[Any, ...]:
    saved = attempt.started_seconds if attempt.checkpoint_seconds is None else max(attempt.started_seconds, attempt.checkpoint_seconds)
    return (
        attempt.job_id,
        attempt.index,
        attempt.queue_id,
        attempt.priority,
        attempt.preemptions,
        sum([run.stop - run.first for run in attempt.runs]),
        0,
        attempt.started_seconds,
        saved,
        attempt.least_seconds,
        True,
        attempt.preemptible,
        attempt.stopping,
        above_minimum(attempt),
    )


def live_of(fleet: Fleet) -> LiveColumns:
    """The columns of this fleet, up to date."""
    if fleet.live is None:
        fleet.live = LiveColumns(fleet)
    live: LiveColumns = fleet.live
    live.follow()
    return live
