"""What is free while a plan is made, and taking of it.

Guarantees: nothing is taken that is not free, resource by resource and device by device. Of its devices a node gives the lowest
idle ones, and for a part of one the fullest that still has room. `undo` brings back exactly what was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bushel.scheduling.feasibility import Variant
from bushel.scheduling.fleet import DEVICE_MILLI, Devices, Fleet, Integers, Mask
from bushel.scheduling.kernels.mode import twin
from bushel.scheduling.kernels.rows import changed
from bushel.scheduling.kernels.tables import Log, Nodes

_MANY = 1 << 20


@dataclass(frozen=True, slots=True)
class Piece:
    """`tasks` equal tasks on the node of `row`; `devices` of each task, in order."""

    variant: Variant
    row: int
    tasks: int
    devices: tuple[tuple[int, ...], ...] = ()


class Journal(Protocol):
    @property
    def log(self) -> Log: ...

    def make_room(self, more: int) -> None:
        """For so many entries in the log."""
        ...


class Room:
    """Columns of what is free. The journal is told of what changes, for those who keep what follows from it."""

    def __init__(self, fleet: Fleet, nodes: Nodes, journal: Journal | None = None) -> None:
        self.fleet = fleet
        self._journal = journal
        self._usable = fleet.usable
        self._before: list[tuple[int, Integers, Devices]] | None = None
        self._most_free: list[int] | None = None
        self._hold(nodes)

    def _hold(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.free: Integers = nodes.free
        self.closed: Mask = nodes.closed

    @classmethod
    def empty(cls, room: Room) -> Room:
        """The fleet as if nothing ran on it, measured as in `room`."""
        fleet = room.fleet
        score = (fleet.capacity * room.nodes.scale[:, None]).astype(np.int64).sum(axis=0)
        closed = np.zeros(len(fleet.ids), np.bool_)
        nodes = room.nodes._replace(free=fleet.capacity.copy(), devices=fleet.device_capacity(), closed=closed, score=score)
        return cls(fleet, nodes)

    def detach(self) -> None:
        """Keep what is said here: the columns are about to change."""
        nodes = self.nodes
        own = {name: getattr(nodes, name).copy() for name in ("free", "devices", "closed", "tie", "score", "model", "value", "points")}
        self._hold(nodes._replace(**own))
        self._journal = None

    def hopeless(self, variant: Variant) -> bool:
        """A quick no: no node had this much free when this was first asked."""
        most = self._most_free
        if most is None:
            most = self._most_free = np.where(self._usable, self.free, 0).max(axis=1, initial=0).tolist()
        return any(amount > most[column] for column, amount in variant.columns)

    def counts(self, variant: Variant, rows: Integers) -> Integers:
        """How many tasks fit on each of `rows`."""
        counts = self.device_counts(variant, rows) if variant.device_column is not None else None
        for column, amount in variant.columns:
            fits = self.free[column, rows] // amount
            counts = fits if counts is None else np.minimum(counts, fits)
        if counts is None:
            counts = np.full(len(rows), _MANY, np.int64)
        return np.where(self.closed[rows], 0, np.maximum(counts, 0))

    def device_counts(self, variant: Variant, rows: Integers) -> Integers:
        """As `counts`, by accelerators alone; the variant has some."""
        devices = self.nodes.devices[self.fleet.model_of[variant.device_column or 0]][rows]
        if variant.share:
            return (devices // variant.share).sum(axis=1, dtype=np.int64)
        return (devices == DEVICE_MILLI).sum(axis=1, dtype=np.int64) // variant.devices

    def scores(self, rows: Integers) -> Integers:
        """What is free on each of `rows`, as one number: smaller is the better fit."""
        return self.nodes.score[rows]

    def mark(self) -> None:
        """From here `undo` takes everything back, until `keep`."""
        self._before = []

    def undo(self) -> None:
        for row, free, devices in reversed(self._before or ()):
            self.free[:, row] = free
            self.nodes.devices[:, row] = devices
            self._changed(row)
        self._before = None

    def keep(self) -> None:
        self._before = None

    def take(self, variant: Variant, row: int, tasks: int) -> Piece:
        if self._before is not None:
            self._before.append((row, self.free[:, row].copy(), self.nodes.devices[:, row].copy()))
        for column, amount in variant.columns:
            self.free[column, row] -= amount * tasks
        taken = () if variant.device_column is None else self._take_devices(variant, variant.device_column, row, tasks)
        self._changed(row)
        return Piece(variant, row, tasks, taken)

    def withhold(self, piece: Piece) -> None:
        """What is free of what this piece will need, now that it comes free bit by bit, is nobody else's."""
        variant, row = piece.variant, piece.row
        needed = [(column, amount * piece.tasks) for column, amount in variant.columns]
        if variant.device_column is not None:
            needed.append((variant.device_column, piece.tasks * (variant.share or variant.devices * DEVICE_MILLI)))
            devices = self.nodes.devices[self.fleet.model_of[variant.device_column], row]
            for taken in piece.devices:
                for device in taken:
                    devices[device] = max(0, int(devices[device]) - (variant.share or DEVICE_MILLI))
        for column, amount in needed:
            self.free[column, row] -= min(amount, max(0, int(self.free[column, row])))
        self._changed(row)

    def close(self, rows: Integers) -> None:
        """Nothing more starts there in this plan."""
        self.closed[rows] = True
        for row in rows.tolist():
            self._changed(row)

    def _changed(self, row: int) -> None:
        journal = self._journal
        if journal is not None:
            journal.make_room(1)
            twin(changed)(self.nodes, journal.log, row)
        else:
            self.nodes.score[row] = (self.free[:, row] * self.nodes.scale).astype(np.int64).sum()

    def _take_devices(self, variant: Variant, column: int, row: int, tasks: int) -> tuple[tuple[int, ...], ...]:
        free = self.nodes.devices[self.fleet.model_of[column], row].tolist()
        taken: list[tuple[int, ...]] = []
        for _ in range(tasks):
            if variant.share:
                chosen = [min((left, device) for device, left in enumerate(free) if left >= variant.share)[1]]
            else:
                chosen = [device for device, left in enumerate(free) if left == DEVICE_MILLI][: variant.devices]
            for device in chosen:
                free[device] -= variant.share or DEVICE_MILLI
            taken.append(tuple(chosen))
        self.nodes.devices[self.fleet.model_of[column], row] = free
        self.free[column, row] -= tasks * (variant.share or variant.devices * DEVICE_MILLI)
        return tuple(taken)
