"""Best fit: what is free while a plan is made, and which node a task takes of it.

Guarantees: nothing is taken that is not free, resource by resource and device by device. Of the nodes that fit, a task takes
the one on which least is left over (each resource measured against the largest node, accelerators weighted fourfold, so
that work without them keeps off their nodes); among equals the oldest node. Many equal tasks placed at once lie exactly as
if placed one by one, because a chosen node only becomes a better fit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bushel.domain.resources import GPU_PREFIX
from bushel.scheduling.feasibility import Variant
from bushel.scheduling.fleet import DEVICE_MILLI, Fleet, Integers, Mask

_SCORE_UNIT = 1 << 20
_ACCELERATOR_WEIGHT = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """`tasks` equal tasks on the node of `row`; `devices` of each task, in order."""

    variant: Variant
    row: int
    tasks: int
    devices: tuple[tuple[int, ...], ...] = ()


class Room:
    """What is free. A copy is a trial: what it takes is not taken here."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.free = fleet.free()
        self.device_free = fleet.device_free()
        self.closed: Mask = np.zeros(len(fleet.ids), np.bool_)  # kept free for a job further ahead
        largest = np.maximum(fleet.capacity.max(axis=1, initial=0), 1)
        weights = np.array([_ACCELERATOR_WEIGHT if name.startswith(GPU_PREFIX) else 1 for name in fleet.column_of], np.float64)
        self._scale = weights * _SCORE_UNIT / largest
        self._usable = fleet.usable
        self._began()

    def _began(self) -> None:
        """What follows from `free` as the plan begins."""
        self.most_free = np.where(self._usable, self.free, 0).max(axis=1, initial=0).tolist()
        self._scores = (self.free * self._scale[:, None]).astype(np.int64).sum(axis=0)

    def trial(self) -> Room:
        twin = object.__new__(Room)
        twin.fleet, twin._scale, twin._usable, twin.most_free = self.fleet, self._scale, self._usable, self.most_free
        twin.free, twin._scores = self.free.copy(), self._scores.copy()
        twin.device_free = {column: free.copy() for column, free in self.device_free.items()}
        twin.closed = self.closed.copy()
        return twin

    @classmethod
    def empty(cls, fleet: Fleet) -> Room:
        """The fleet as if nothing ran on it."""
        room = cls(fleet)
        room.free = fleet.capacity.copy()
        for column, free in room.device_free.items():
            free[:] = np.where(np.arange(free.shape[1])[None, :] < (fleet.capacity[column] // DEVICE_MILLI)[:, None], DEVICE_MILLI, 0)
        room._began()
        return room

    def hopeless(self, variant: Variant) -> bool:
        """A quick no: no node had this much free when the plan began."""
        return any(amount > self.most_free[column] for column, amount in variant.columns)

    def counts(self, variant: Variant, rows: Integers) -> Integers:
        """How many tasks fit on each of `rows`."""
        counts = self.device_counts(variant, rows) if variant.device_column is not None else None
        for column, amount in variant.columns:
            fits = self.free[column, rows] // amount
            counts = fits if counts is None else np.minimum(counts, fits)
        if counts is None:
            counts = np.full(len(rows), _SCORE_UNIT, np.int64)
        return np.where(self.closed[rows], 0, np.maximum(counts, 0))

    def device_counts(self, variant: Variant, rows: Integers) -> Integers:
        """As `counts`, by accelerators alone; the variant has some."""
        devices = self.device_free[variant.device_column or 0][rows]
        if variant.share:
            return (devices // variant.share).sum(axis=1)
        return (devices == DEVICE_MILLI).sum(axis=1) // variant.devices

    def scores(self, rows: Integers) -> Integers:
        """What is free on each of `rows`, as one number: smaller is the better fit."""
        return self._scores[rows]

    def best(self, variant: Variant, rows: Integers) -> int | None:
        """The node of `rows`, which are in order of age, that one task takes."""
        fits = ~self.closed[rows]
        for column, amount in variant.columns:
            fits &= self.free[column, rows] >= amount
        if variant.device_column is not None:
            fits &= self.device_counts(variant, rows) > 0
        able = rows[fits]
        return int(able[np.argmin(self._scores[able])]) if len(able) else None

    def adopt(self, trial: Room) -> None:
        """Take what a trial took."""
        self.free, self._scores, self.device_free = trial.free, trial._scores, trial.device_free

    def take(self, variant: Variant, row: int, tasks: int) -> Piece:
        for column, amount in variant.columns:
            self.free[column, row] -= amount * tasks
        taken = () if variant.device_column is None else self._take_devices(variant, variant.device_column, row, tasks)
        self._scores[row] = (self.free[:, row] * self._scale).astype(np.int64).sum()
        return Piece(variant, row, tasks, taken)

    def _take_devices(self, variant: Variant, column: int, row: int, tasks: int) -> tuple[tuple[int, ...], ...]:
        free = self.device_free[column][row]
        taken: list[tuple[int, ...]] = []
        for _ in range(tasks):
            if variant.share:
                fitting = np.flatnonzero(free >= variant.share)
                chosen = fitting[np.argmin(free[fitting])][None]  # the fullest device that still fits it
            else:
                chosen = np.flatnonzero(free == DEVICE_MILLI)[: variant.devices]
            free[chosen] -= variant.share or DEVICE_MILLI
            taken.append(tuple(chosen.tolist()))
        self.free[column, row] -= tasks * (variant.share or variant.devices * DEVICE_MILLI)
        return tuple(taken)


def pack_singly(
    room: Room, variants: tuple[Variant, ...], wanted: int, grant: Callable[[Variant, int], int], excluded: frozenset[int] = frozenset()
) -> list[Piece]:
    """Place up to `wanted` elements of one task each by best fit, and take the room.

    `variants` are equally good. `grant` charges the quota for some tasks and says how many of them it allows. `excluded` are
    node ids.
    """
    if wanted == 1 and len(variants) == 1 and not excluded:
        row = room.best(variants[0], variants[0].rows)
        return [] if row is None or not grant(variants[0], 1) else [room.take(variants[0], row, 1)]
    pieces: list[Piece] = []
    candidates: list[tuple[int, int, int, int, int]] = []
    for number, variant in enumerate(variants):
        rows = variant.rows
        if excluded:
            rows = rows[~np.isin(room.fleet.ids[rows], list(excluded))]
        counts = room.counts(variant, rows)
        hit = np.flatnonzero(counts)
        if not len(hit):
            continue
        rows, counts, scores = rows[hit], counts[hit], room.scores(rows[hit])
        order = np.argsort(scores, kind="stable")  # rows are in order of node id
        order = order[: int(np.searchsorted(np.cumsum(counts[order]), wanted)) + 1]
        ids = room.fleet.ids[rows[order]]
        candidates.extend(
            zip(scores[order].tolist(), ids.tolist(), [number] * len(order), rows[order].tolist(), counts[order].tolist(), strict=True)
        )
    if len(variants) > 1:
        candidates.sort()
    for _, _, number, row, count in candidates:
        variant = variants[number]
        tasks = min(wanted, count)
        if len(variants) > 1:
            tasks = min(tasks, int(room.counts(variant, np.array([row]))[0]))  # another variant may have taken of this node
        if tasks > 0 and (tasks := grant(variant, tasks)) > 0:
            pieces.append(room.take(variant, row, tasks))
            wanted -= tasks
        if not wanted:
            break
    return pieces
