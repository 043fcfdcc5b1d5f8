"""In which order elements give way to others, and what comes free by it.

Guarantees: an element is stopped whole. Elements that hold more than their minimum give way first, then those
of queues farthest beyond their entitlement, counted in whole entitlements, and among these the ones that lose the least work: the
seconds since the last checkpoint, or since the start, times the tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bushel.domain.resources import GPU_PREFIX
from bushel.scheduling.entities import LiveAttempt, Run
from bushel.scheduling.fairness.standings import ONE
from bushel.scheduling.fit import Room
from bushel.scheduling.fleet import DEVICE_MILLI, Devices, Fleet, Integers, Mask

_BANDS = 64
"""Beyond so many entitlements all queues are alike."""


@dataclass(frozen=True, slots=True)
class Victims:
    """Those that may be stopped, side by side, the first to give way first. `slots` are their numbers among those that run.

    `nearness`: who may go only after all others are of a larger one. `queues` are numbers of the ledger, `amounts` its columns.
    """

    slots: Integers
    nearness: Integers
    lost_seconds: npt.NDArray[np.float64]
    own: Mask  # of the claimant's own queue
    grown: Mask  # some group has more tasks than it needs
    queues: Integers
    amounts: Integers

    def __len__(self) -> int:
        return len(self.slots)


_NONE, _NOT = np.zeros(0, np.int64), np.zeros(0, np.bool_)
NOBODY = Victims(_NONE, _NONE, np.zeros(0, np.float64), _NOT, _NOT, _NONE, np.zeros((0, 0), np.int64))


def nearness_of(rank: Integers, own: Mask, grown: Mask) -> Integers:
    """Those that are larger than they need be are the farthest, then those of the highest rank, in whole entitlements."""
    band = np.where(own, 0, np.minimum(rank // ONE, _BANDS))
    return np.where(grown, 0, 2 * _BANDS) - band


def above_minimum(attempt: LiveAttempt) -> bool:
    """Whether some group has more tasks than it needs."""
    if attempt.shape is None:
        return False
    least = {group.name: group.min_count for group in attempt.shape.groups}
    placed: dict[str, int] = {}
    for run in attempt.runs:
        placed[run.group] = placed.get(run.group, 0) + run.stop - run.first
    return any(count > least.get(name, count) for name, count in placed.items())


class Holdings:
    """What some attempts hold, in columns: an entry for each attempt and node. `who` is the number of the attempt, by entry."""

    def __init__(self, fleet: Fleet, attempts: Sequence[LiveAttempt]) -> None:
        self.fleet = fleet
        at: dict[tuple[int, int], int] = {}
        amounts: list[tuple[int, int, int]] = []
        parts: list[tuple[int, int, int, int]] = []
        self.unpinned: list[tuple[int, int, int]] = []  # attempt, model, row: of runs whose devices are not known
        for number, attempt in enumerate(attempts):
            for run in attempt.runs:
                row = fleet.row_of.get(run.node_id)
                if row is not None:
                    self._add(run, at.setdefault((number, row), len(at)), number, row, amounts, parts)
        self.who: Integers = np.array([number for number, _ in at], np.int64)
        self.row: Integers = np.array([row for _, row in at], np.int64)
        self.amounts: Integers = np.zeros((len(fleet.column_of), len(at)), np.int64)
        self.parts: Devices = np.zeros((len(fleet.model_of), len(at), fleet.devices_used.shape[2]), np.int64)
        if amounts:
            columns = np.array(amounts, np.int64).T
            np.add.at(self.amounts, (columns[0], columns[1]), columns[2])
        if parts:
            columns = np.array(parts, np.int64).T
            np.add.at(self.parts, (columns[0], columns[1], columns[2]), columns[3])

    @classmethod
    def of_columns(
        cls, fleet: Fleet, who: Integers, row: Integers, amounts: Integers, parts: Devices, unpinned: list[tuple[int, int, int]]
    ) -> Holdings:
        made = object.__new__(cls)
        made.fleet, made.who, made.row, made.amounts, made.parts, made.unpinned = fleet, who, row, amounts, parts, unpinned
        return made

    def _add(
        self, run: Run, entry: int, number: int, row: int, amounts: list[tuple[int, int, int]], parts: list[tuple[int, int, int, int]]
    ) -> None:
        for name, amount in run.amounts.items():
            column = self.fleet.column_of[name]
            amounts.append((column, entry, amount * (run.stop - run.first)))
            if name.startswith(GPU_PREFIX):
                model = self.fleet.model_of[column]
                part = min(amount, DEVICE_MILLI)
                parts.extend((model, entry, device, part) for devices in run.devices for device in devices)
                if not run.devices:
                    self.unpinned.append((number, model, row))

    def rows_of(self, number: int) -> Integers:
        return self.row[self.who == number]


def without(room: Room, holdings: Holdings, gone: Mask, sign: int = 1) -> Room:
    """A room of its own in which these attempts hold nothing; with a `sign` of -1 one in which they hold it as well."""
    fleet, nodes = room.fleet, room.nodes
    free, devices = room.free.copy(), nodes.devices.astype(np.int64)
    entries = gone[holdings.who] if len(holdings.who) else np.zeros(0, np.bool_)
    rows = holdings.row[entries]
    for column, amounts in zip(free, holdings.amounts, strict=True):
        np.add.at(column, rows, sign * amounts[entries])
    for of_model, parts in zip(devices, holdings.parts, strict=True):
        for device in range(of_model.shape[1]):
            np.add.at(of_model[:, device], rows, sign * parts[entries, device].astype(np.int64))
    _release_unpinned(fleet, holdings, gone, devices)
    np.clip(devices, 0, DEVICE_MILLI, out=devices)
    score = nodes.score.copy()
    touched = np.flatnonzero(np.bincount(rows, minlength=len(score)))
    score[touched] = (free[:, touched] * nodes.scale[:, None]).astype(np.int64).sum(axis=0)
    kept = nodes._replace(free=free, devices=devices.astype(np.int16), closed=room.closed.copy(), score=score)
    return Room(fleet, kept)


def _release_unpinned(fleet: Fleet, holdings: Holdings, gone: Mask, devices: Integers) -> None:
    """Devices of a node count as held while some run there does not say which it has."""
    released: dict[tuple[int, int], int] = {}
    for number, model, row in holdings.unpinned:
        if gone[number]:
            released[model, row] = released.get((model, row), 0) + 1
    columns = {model: column for column, model in fleet.model_of.items()}
    for (model, row), count in released.items():
        if count >= fleet.unpinned[model, row]:
            exists = np.arange(devices.shape[2]) < fleet.capacity[columns[model], row] // DEVICE_MILLI
            devices[model, row] += np.where(exists, DEVICE_MILLI - fleet.devices_used[model, row], 0)
