"""The ways in which a class of one task may be met, as columns for the kernels.

Guarantees: ways of a class are in the order of its document's preference, and those of one rank are equally good; entries are only
ever added, so a number keeps its meaning for as long as this object lives.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bushel.domain.job import GroupShape
from bushel.domain.resources import CPU, GPU_PREFIX, MEMORY
from bushel.scheduling.entities import ShapeClass
from bushel.scheduling.fleet import DEVICE_MILLI, Integers
from bushel.scheduling.kernels.tables import Ways
from bushel.scheduling.quota import GPU_OF_ANY_MODEL, add_charge


def models_in_order(group: GroupShape, models: list[str]) -> list[list[str | None]]:
    """Models of accelerators that a group may have, in ranks; `models` are those of the fleet."""
    if not group.request.gpu_milli:
        return [[None]]
    if group.request.gpu_models:
        return [[model] for model in group.request.gpu_models]
    return [list(models)]


class WayTable:
    def __init__(self, columns: Mapping[str, int], model_of: Mapping[int, int]) -> None:
        self._columns = columns
        self._model_of = model_of
        self.count = 0
        self.amounts: list[dict[str, int]] = []  # of each way
        self.group_names: list[str] = []
        self.table = self._empty(16)

    def add(self, group: GroupShape, models: list[str], mask: int) -> tuple[int, int]:
        """The ways of a group: first and one past the last."""
        first = self.count
        for rank, equal in enumerate(models_in_order(group, models)):
            for model in equal:
                amounts = group.request.amounts(model)
                if all(name in self._columns for name in amounts):
                    self.group_names.append(group.name)
                    self._put(amounts, None if model is None else GPU_PREFIX + model, rank, mask)
        return first, self.count

    def needs(self, shape: ShapeClass, models: list[str]) -> Integers:
        """What an element counts against its queue when each group is met in the first way."""
        charge: dict[str, int] = {}
        for group in shape.groups:
            first = next(iter(models_in_order(group, models)), [])
            for model in first[:1]:
                add_charge(charge, group.request.amounts(model), group.count)
        row = np.zeros(len(self._columns) + 1, np.int64)
        for name, amount in charge.items():
            if name in self._columns or name == GPU_OF_ANY_MODEL:
                row[self._columns.get(name, len(self._columns))] = amount
        return row

    def _put(self, amounts: dict[str, int], device: str | None, rank: int, mask: int) -> None:
        if self.count == len(self.table.mask):
            larger = self._empty(2 * self.count)
            for values, before in zip(larger, self.table, strict=True):
                values[: self.count] = before
            self.table = larger
        way, table = self.count, self.table
        self.count += 1
        self.amounts.append(amounts)
        table.mask[way], table.rank[way] = mask, rank
        table.cpu[way], table.memory[way] = amounts.get(CPU, 0), amounts.get(MEMORY, 0)
        plain = [(self._columns[name], amount) for name, amount in amounts.items() if name != device]
        for place, (column, amount) in enumerate(plain):
            table.columns[way, place], table.amounts[way, place] = column, amount
        if device is not None:
            amount = amounts[device]
            share = amount if amount < DEVICE_MILLI else 0
            table.device_column[way] = self._columns[device]
            table.model[way] = self._model_of[self._columns[device]]
            table.share[way], table.devices[way] = share, 0 if share else -(-amount // DEVICE_MILLI)
            table.taken[way] = share or table.devices[way] * DEVICE_MILLI
        charge: dict[str, int] = {}
        add_charge(charge, amounts, 1)
        for name, amount in charge.items():
            table.needs[way, self._columns.get(name, len(self._columns))] = amount

    def _empty(self, ways: int) -> Ways:
        width = len(self._columns)
        return Ways(
            mask=np.zeros(ways, np.int32),
            cpu=np.zeros(ways, np.int64),
            memory=np.zeros(ways, np.int64),
            columns=np.full((ways, width), -1, np.int32),
            amounts=np.zeros((ways, width), np.int64),
            model=np.full(ways, -1, np.int32),
            devices=np.zeros(ways, np.int32),
            share=np.zeros(ways, np.int32),
            device_column=np.full(ways, -1, np.int32),
            taken=np.zeros(ways, np.int64),
            needs=np.zeros((ways, width + 1), np.int64),
            rank=np.zeros(ways, np.int32),
        )
