"""Clusters and nodes as columns: what they have, what live attempts hold of it, where they lie.

Guarantees: a change of one node or one attempt costs what that node or attempt is, not the fleet; what is held is the exact
sum over live attempts, whatever the order in which records came; accelerators are kept one by one, so a share of a device
and a whole device never claim the same one. Row numbers and interned numbers depend on history and decide nothing. `touched`
lists the rows whose state has changed, in order, for whoever keeps something that follows from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bushel.domain.resources import CPU, GPU_PREFIX, MEMORY
from bushel.scheduling.entities import Cluster, LiveAttempt, Node, Run

Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Devices = npt.NDArray[Any]

DEVICE_MILLI = 1000
"""One whole accelerator."""

_IMPLIED_LEVELS = ("site", "cluster")
_MEMO_LIMIT = 2000


class Fleet:
    """Rows are nodes; `row_of` finds one. Resources and levels are interned to columns as they are first heard of."""

    def __init__(self) -> None:
        self.clusters: dict[int, Cluster] = {}
        self.nodes: dict[int, Node] = {}
        self.attempts: dict[tuple[int, int], LiveAttempt] = {}
        self.row_of: dict[int, int] = {}
        self.column_of: dict[str, int] = {}
        self.rows = 0
        self.ids: Integers = np.zeros(0, np.int64)
        self.cluster_ids: Integers = np.zeros(0, np.int64)
        self.open: Mask = np.zeros(0, np.bool_)  # present, ready, neither cordoned nor quarantined
        self.probation: Mask = np.zeros(0, np.bool_)
        self.capacity: Integers = np.zeros((0, 0), np.int64)  # resource × node
        self.used: Integers = np.zeros((0, 0), np.int64)
        self.model_of: dict[int, int] = {}  # resource column of an accelerator → its number among the models
        self.devices_used: Devices = np.zeros((0, 0, 0), np.int16)  # model × node × device, in thousandths
        self.unpinned: Integers = np.zeros((0, 0), np.int64)  # model × node: runs whose devices are not known
        self.maintained: dict[int, tuple[tuple[float, float], ...]] = {}  # row → windows, of nodes that have some
        self.touched: list[int] = []
        self.live: Any = None  # `live.LiveColumns`, once somebody has asked for them
        self.live_tasks: Counter[tuple[int, int, int, str]] = Counter()  # with accelerators: CPU, memory, accelerators, model
        self.labels: dict[str, Integers] = {}
        self.places: dict[str, Integers] = {}
        self.structure = 0  # grows when anything but what is held changes
        self._interned: dict[Any, int] = {}
        self._free_rows: list[int] = []
        self._homeless: dict[int, set[tuple[int, int]]] = {}  # node not known (any more) → attempts that name it
        self._usable: tuple[int, Mask] = (-1, self.open)
        self._memo: tuple[int, dict[Any, Any]] = (-1, {})

    # What is asked -------------------------------------------------------------------------------------------------

    @property
    def memo(self) -> dict[Any, Any]:
        """For what was computed from the structure alone; emptied when that changes, and before it grows without bound."""
        if self._memo[0] != self.structure or len(self._memo[1]) > _MEMO_LIMIT:
            self._memo = (self.structure, {})
        return self._memo[1]

    @property
    def usable(self) -> Mask:
        """Nodes on which something may start, maintenance aside."""
        if self._usable[0] != self.structure:
            alive = np.array([cluster.id for cluster in self.clusters.values() if cluster.alive], np.int64)
            self._usable = (self.structure, self.open & np.isin(self.cluster_ids, alive))
        return self._usable[1]

    def free(self) -> Integers:
        """A new array, resource × node."""
        return self.capacity - self.used

    def device_free(self, rows: Integers | None = None) -> Devices:
        """A new array, model × node × device, in thousandths of a device; of these rows, or of all."""
        used = self.devices_used if rows is None else self.devices_used[:, rows]
        free: Devices = np.maximum(DEVICE_MILLI - used, 0)
        numbers = np.arange(used.shape[2])
        for column, model in self.model_of.items():
            capacity, unpinned = self.capacity[column], self.unpinned[model]
            if rows is not None:
                capacity, unpinned = capacity[rows], unpinned[rows]
            free[model][numbers >= (np.where(unpinned == 0, capacity, 0) // DEVICE_MILLI)[:, None]] = 0
        return free

    def device_capacity(self) -> Devices:
        """As `device_free`, if nothing were held."""
        free: Devices = np.full(self.devices_used.shape, DEVICE_MILLI, np.int16)
        numbers = np.arange(free.shape[2])
        for column, model in self.model_of.items():
            free[model][numbers >= (self.capacity[column] // DEVICE_MILLI)[:, None]] = 0
        return free

    def has_label(self, key: str, value: str) -> Mask:
        column = self.labels.get(key)
        number = self._interned.get(("label", value))
        return np.zeros(len(self.ids), np.bool_) if column is None or number is None else column == number

    def place_numbers(self, level: str) -> Integers:
        """For each node a number of the place it lies in at `level`; equal numbers are the same place, -1 is none."""
        if level == "node":
            return np.where(self.open, np.arange(len(self.ids)), -1)
        if level == "cluster":
            return self.cluster_ids
        if level == "site":
            sites = {cluster.id: self._intern(("site", cluster.site)) for cluster in self.clusters.values()}
            return np.array([sites.get(int(cluster_id), -1) for cluster_id in self.cluster_ids], np.int64)
        return self.places.get(level, np.full(len(self.ids), -1, np.int64))

    def gpu_models(self) -> list[str]:
        return sorted(name.removeprefix(GPU_PREFIX) for name in self.column_of if name.startswith(GPU_PREFIX))

    def levels(self) -> list[str]:
        """The topology levels that some node names, and the two that all have."""
        return [*_IMPLIED_LEVELS, *sorted(self.places)]

    # What is told --------------------------------------------------------------------------------------------------

    def put_cluster(self, cluster: Cluster) -> None:
        before = self.clusters.get(cluster.id)
        self.clusters[cluster.id] = cluster
        if before is None or (before.name, before.site, before.alive, before.containers) != (
            cluster.name,
            cluster.site,
            cluster.alive,
            cluster.containers,
        ):
            self.structure += 1

    def remove_cluster(self, cluster_id: int) -> None:
        if self.clusters.pop(cluster_id, None) is not None:
            self.structure += 1

    def put_node(self, node: Node) -> None:
        before = self.nodes.get(node.id)
        if before == node:
            return
        self.nodes[node.id] = node
        if before is not None and replace(before, version=node.version) == node:
            return
        self.structure += 1
        row = self.row_of.get(node.id)
        if row is None:
            row = self._new_row()
            self.row_of[node.id] = row
            self.ids[row] = node.id
        self.touched.append(row)
        self.cluster_ids[row] = node.cluster_id
        self.open[row] = node.ready and not node.cordoned and not node.quarantined
        self.probation[row] = node.probation
        self.maintained.pop(row, None)
        if node.maintenance:
            self.maintained[row] = node.maintenance
        columns = {self._column(name): amount for name, amount in node.capacity.items()}
        self.capacity[:, row] = 0
        for column, amount in columns.items():
            self.capacity[column, row] = amount
            if column in self.model_of:
                self._widen_devices(amount // DEVICE_MILLI)
        self._put_named(self.labels, row, {key: ("label", value) for key, value in node.labels.items()})
        path: tuple[Any, ...] = ("place", node.cluster_id)
        places: dict[str, Any] = {}
        for level, place in node.topology:
            path = (*path, level, place)
            places[level] = path
        self._put_named(self.places, row, places)
        for key in sorted(self._homeless.pop(node.id, ())):
            for run in self.attempts[key].runs:
                if run.node_id == node.id:
                    self._charge(row, run, 1)

    def remove_node(self, node_id: int) -> None:
        row = self.row_of.pop(node_id, None)
        if row is None:
            return
        self.structure += 1
        del self.nodes[node_id]
        homeless = {key for key, attempt in self.attempts.items() if any(run.node_id == node_id for run in attempt.runs)}
        if homeless:
            self._homeless[node_id] = homeless
        self.touched.append(row)
        self.maintained.pop(row, None)
        self.ids[row], self.cluster_ids[row], self.open[row], self.probation[row] = 0, 0, False, False
        self.capacity[:, row] = 0
        self.used[:, row] = 0
        self.devices_used[:, row] = 0
        self.unpinned[:, row] = 0
        for named in (self.labels, self.places):
            for values in named.values():
                values[row] = -1
        self._free_rows.append(row)

    def put_attempt(self, attempt: LiveAttempt) -> None:
        key = (attempt.job_id, attempt.index)
        if key in self.attempts:
            self.remove_attempt(*key)
        self.attempts[key] = attempt
        self._count_live(attempt, 1)
        if self.live is not None:
            self.live.changed(key)
        for run in attempt.runs:
            row = self.row_of.get(run.node_id)
            if row is None:
                self._homeless.setdefault(run.node_id, set()).add(key)
            else:
                self._charge(row, run, 1)

    def remove_attempt(self, job_id: int, index: int) -> LiveAttempt | None:
        attempt = self.attempts.pop((job_id, index), None)
        if attempt is not None:
            self._count_live(attempt, -1)
            if self.live is not None:
                self.live.changed((job_id, index))
        for run in attempt.runs if attempt else ():
            row = self.row_of.get(run.node_id)
            if row is not None:
                self._charge(row, run, -1)
            elif (keys := self._homeless.get(run.node_id)) is not None:
                keys.discard((job_id, index))
                if not keys:
                    del self._homeless[run.node_id]
        return attempt

    def _count_live(self, attempt: LiveAttempt, sign: int) -> None:
        for run in attempt.runs:
            for name, amount in run.amounts.items():
                if name.startswith(GPU_PREFIX):
                    kind = run.amounts.get(CPU, 0), run.amounts.get(MEMORY, 0), amount, name.removeprefix(GPU_PREFIX)
                    self.live_tasks[kind] += sign * (run.stop - run.first)
                    if not self.live_tasks[kind]:
                        del self.live_tasks[kind]

    # How it is kept ------------------------------------------------------------------------------------------------

    def _charge(self, row: int, run: Run, sign: int) -> None:
        tasks = (run.stop - run.first) * sign
        self.touched.append(row)
        for name, amount in run.amounts.items():
            column = self._column(name)
            self.used[column, row] += amount * tasks
            model = self.model_of.get(column)
            if model is None:
                continue
            if not run.devices:
                self.unpinned[model, row] += sign
            part = min(amount, DEVICE_MILLI) * sign
            for devices in run.devices:
                self._widen_devices(max(devices, default=-1) + 1)
                for device in devices:
                    self.devices_used[model, row, device] += part

    def _intern(self, thing: Any) -> int:
        return self._interned.setdefault(thing, len(self._interned))

    def _put_named(self, columns: dict[str, Integers], row: int, values: dict[str, Any]) -> None:
        for values_of in columns.values():
            values_of[row] = -1
        for name, value in values.items():
            if name not in columns:
                columns[name] = np.full(len(self.ids), -1, np.int64)
            columns[name][row] = self._intern(value)

    def _column(self, name: str) -> int:
        column = self.column_of.get(name)
        if column is None:
            column = self.column_of[name] = len(self.column_of)
            empty = np.zeros((1, len(self.ids)), np.int64)
            self.capacity = np.concatenate([self.capacity, empty])
            self.used = np.concatenate([self.used, empty])
            if name.startswith(GPU_PREFIX):
                self.model_of[column] = len(self.model_of)
                self.devices_used = np.pad(self.devices_used, ((0, 1), (0, len(self.ids) - self.devices_used.shape[1]), (0, 0)))
                self.unpinned = np.concatenate([self.unpinned.reshape(-1, len(self.ids)), empty])
        return column

    def _widen_devices(self, width: int) -> None:
        more = width - self.devices_used.shape[2]
        if more > 0:
            self.devices_used = np.pad(self.devices_used, ((0, 0), (0, 0), (0, more)))

    def _new_row(self) -> int:
        if self._free_rows:
            return self._free_rows.pop()
        if self.rows == len(self.ids):
            self._grow(max(16, self.rows))
        self.rows += 1
        return self.rows - 1

    def _grow(self, more: int) -> None:
        def longer(values: Any, fill: int = 0) -> Any:
            return np.concatenate([values, np.full(more, fill, values.dtype)])

        self.ids, self.cluster_ids = longer(self.ids), longer(self.cluster_ids)
        self.open, self.probation = longer(self.open), longer(self.probation)
        for named in (self.labels, self.places):
            named.update({name: longer(values, -1) for name, values in named.items()})
        self.capacity = np.pad(self.capacity, ((0, 0), (0, more)))
        self.used = np.pad(self.used, ((0, 0), (0, more)))
        self.devices_used = np.pad(self.devices_used, ((0, 0), (0, more), (0, 0)))
        self.unpinned = np.pad(self.unpinned, ((0, 0), (0, more)))

    def contents(self) -> dict[str, Any]:
        """All that decides anything, free of history: for comparing two fleets."""
        rows: dict[int, Any] = {}
        names = sorted(self.column_of)
        for node_id, row in self.row_of.items():
            held = {name: int(self.used[self.column_of[name], row]) for name in names}
            devices = {
                name: np.trim_zeros(self.devices_used[self.model_of[self.column_of[name]], row], "b").tolist()
                for name in names
                if self.column_of[name] in self.model_of
            }
            rows[node_id] = (
                self.nodes[node_id],
                bool(self.open[row]),
                _present(held.items()),
                _present(devices.items()),
            )
        return {"clusters": dict(self.clusters), "nodes": rows, "attempts": dict(self.attempts)}


def _present(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in items if value}
