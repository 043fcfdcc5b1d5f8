"""What is kept between plans so that a plan costs what has changed: working copies of what is free, rows of keys, a change log.

Guarantees: it decides nothing; a plan made with it is the plan made without it. At the beginning of a plan its columns say exactly what the
snapshot says. A `Room` that an earlier plan still holds is not touched: it gets its own copy first.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from bushel.domain.job import Constraints
from bushel.domain.resources import CPU, GPU_PREFIX, MEMORY
from bushel.scheduling.entities import ShapeClass
from bushel.scheduling.fairness import FairShares
from bushel.scheduling.feasibility import allowed_nodes
from bushel.scheduling.fleet import DEVICE_MILLI, Fleet, Integers
from bushel.scheduling.kernels.mode import twin
from bushel.scheduling.kernels.rows import measure_all
from bushel.scheduling.kernels.tables import (
    BLOCK,
    FORGOTTEN,
    IMPOSSIBLE,
    LEARNT,
    SINGLE,
    TOGETHER,
    Array,
    Classes,
    Log,
    Nodes,
    Rows,
    new_state,
)
from bushel.scheduling.learnt import Learnt
from bushel.scheduling.packing.value import POINTS
from bushel.scheduling.places import Places, kinds_of
from bushel.scheduling.ways import WayTable

if TYPE_CHECKING:
    from bushel.scheduling.classes import ShapeNumbers
    from bushel.scheduling.fit import Room
    from bushel.scheduling.lines import Lines

SCORE_UNIT = 1 << 20
_ACCELERATOR_WEIGHT = 4
_PRICE_SHIFT = 48
_ROWS_BYTES = 1 << 30
"""Most memory for rows of keys; beyond it those that were not asked for longest go."""

_DEVICES_LIMIT = 62
"""Most devices of a node that the record of a kernel can name; where nodes have more, tasks with some are placed as gangs are."""

MaskName = tuple[Constraints, bool, bool]


class Workspace:
    """One for a snapshot and those that were made of it for "what if". Not for two plans at once."""

    def __init__(self) -> None:
        self._fleet: Fleet | None = None
        self._lent: weakref.ref[Room] | None = None
        self._learnt = Learnt()
        self.fair = FairShares()

    def begin(self, fleet: Fleet, lines: Lines, now_seconds: float, room_for: int) -> float | None:
        """Bring all up to date for a plan of up to `room_for` changes. When time alone changes which nodes may be used."""
        shapes = lines.shapes
        lent = self._lent() if self._lent is not None else None
        if lent is not None:
            lent.detach()
        if self._fleet is not fleet or self._extent(fleet) != self._known_extent:
            self._renew(fleet)
        if self._shapes is not shapes:
            self._renew_classes(fleet, shapes)
        if self._structure != fleet.structure:
            self._follow_structure(fleet)
        packing = self._learnt.tables(fleet, lines)
        learnt = packing is not self.nodes.packing
        if learnt:
            self.nodes = self.nodes._replace(packing=packing)
        changed = np.unique(np.array(fleet.touched + self._unlogged, np.int64))
        fleet.touched.clear()
        self._unlogged.clear()
        self._follow(fleet, np.union1d(changed, self._taken()))
        if self._stale:
            self._measure_again()
        elif learnt:
            self.state[LEARNT] += 1
            twin(measure_all)(self.nodes, np.flatnonzero(self.nodes.model >= 0))
        until = self._maintenance(fleet, now_seconds)
        self._synced = self._log.length.copy()
        self.make_room(room_for + 64)
        self._number_classes(fleet, shapes.shapes)
        return until

    def lend(self, room: Room) -> None:
        """The plan's room shares these columns until the next plan begins."""
        self._lent = weakref.ref(room)

    # From the beginning --------------------------------------------------------------------------------------------

    def _extent(self, fleet: Fleet) -> tuple[object, ...]:
        return (*fleet.devices_used.shape, *fleet.capacity.shape)

    def _renew(self, fleet: Fleet) -> None:
        self._fleet, self._known_extent = fleet, self._extent(fleet)
        self._structure, self._stale = -1, True
        count = len(fleet.ids)
        width = len(fleet.column_of)
        self._places = Places(count)
        self.nodes = Nodes(
            fleet.free(),
            fleet.device_free(),
            np.zeros(count, np.bool_),
            np.zeros(count, np.int64),
            np.zeros(count, np.int64),
            np.zeros(width, np.float64),
            np.zeros((len(fleet.model_of), count), np.int16),
            np.full(count, -1, np.int32),
            np.zeros(count, np.float64),
            np.zeros(count, np.int32),
            self._places.group,
            self._places.place,
            fleet.column_of.get(CPU, 0),
            fleet.column_of.get(MEMORY, 0),
            1,
            1,
            None,
        )
        self.state = new_state()
        self._clear_log()
        self._unlogged: list[int] = []
        fleet.touched.clear()
        self._shapes: ShapeNumbers | None = None

    def _renew_classes(self, fleet: Fleet, shapes: ShapeNumbers) -> None:
        self._shapes = shapes
        self.ways = WayTable(dict(fleet.column_of), dict(fleet.model_of))
        self._models = fleet.gpu_models()
        self._mask_numbers: dict[MaskName, int] = {}
        self._mask_shapes: list[tuple[ShapeClass, bool]] = []
        self._witness: dict[int, int] = {}  # way → a node on which it fits when empty
        self._checked: dict[int, bool] = {}
        self._checked_structure = -1
        self._numbered = 0
        self._first, self._stop, self._kind = np.zeros(16, np.int32), np.zeros(16, np.int32), np.zeros(16, np.int8)
        self._needs = np.zeros((16, len(fleet.column_of) + 1), np.int64)
        self._kept_slots(16)
        self._masks = np.zeros((0, len(fleet.ids)), np.int8)

    def _clear_log(self) -> None:
        groups = len(self._places.models)
        self._log = Log(np.zeros((groups, 1024), np.int32), np.zeros(groups, np.int64), np.full(len(self._places.row_at), -1, np.int64))
        self._synced = self._log.length.copy()

    def _kept_slots(self, wanted: int) -> None:
        count, groups = len(self._places.row_at), len(self._places.models)
        slots = min(wanted, max(16, _ROWS_BYTES // (4 * max(1, count))))
        blocks = count // BLOCK
        self._slot = np.full(max(wanted, 16), -1, np.int32)
        self._slot_way, self._slot_used = np.full(slots, -1, np.int32), np.zeros(slots, np.int64)
        self._slot_seen, self._slot_learnt = np.full((slots, groups), -1, np.int64), np.zeros((slots, groups), np.int64)
        self._keys = np.empty((slots, count), np.int32)
        self._best_key, self._best_row = np.empty((slots, blocks), np.int32), np.empty((slots, blocks), np.int32)

    # From the last plan --------------------------------------------------------------------------------------------

    def _follow_structure(self, fleet: Fleet) -> None:
        """Capacities, permissions, or the order of nodes are others."""
        fresh = self._structure < 0
        self._structure = fleet.structure
        largest = np.maximum(fleet.capacity.max(axis=1, initial=0), 1)
        weights = np.array([_ACCELERATOR_WEIGHT if name.startswith(GPU_PREFIX) else 1 for name in fleet.column_of], np.float64)
        scale = weights * SCORE_UNIT / largest
        prices = {cluster.id: cluster.price for cluster in fleet.clusters.values()}
        price = np.zeros(len(fleet.ids), np.int64)
        for cluster_id, amount in prices.items():
            if amount:
                price[fleet.cluster_ids == cluster_id] = amount
        tie = (price << _PRICE_SHIFT) + fleet.ids
        moved = bool(np.any((self.nodes.tie != tie) & (self.nodes.tie != 0) & (tie != 0)))
        self.nodes.tie[:] = tie
        if not np.array_equal(scale, self.nodes.scale):
            self.nodes.scale[:] = scale
            moved = True
        if len(largest):
            self.nodes = self.nodes._replace(largest_cpu=int(largest[self.nodes.cpu]), largest_memory=int(largest[self.nodes.memory]))
        self._follow_devices(fleet)
        self._follow_places(fleet)
        self._follow_order(fleet)
        self._witness = {} if fresh else self._witness
        self._stale = self._stale or moved or fresh
        masks = self._masks
        if len(masks):
            self._masks = np.stack([self._mask(fleet, shape, single) for shape, single in self._mask_shapes])
            self._unlogged.extend(np.flatnonzero((masks != self._masks).any(axis=0)).tolist())

    def _mask(self, fleet: Fleet, shape: ShapeClass, single: bool) -> Array:
        """1 where it is allowed, 2 where only as a last choice."""
        allowed = allowed_nodes(fleet, shape)
        return np.where(fleet.probation & allowed, 2 if single and shape.retryable else 0, allowed).astype(np.int8)

    def _follow_devices(self, fleet: Fleet) -> None:
        """How many each node has, and the model of most of them."""
        most = np.zeros(len(fleet.ids), np.int16)
        self.nodes.model[:] = -1
        for name in fleet.gpu_models():  # by name, so that of equally many the same is taken whatever the history
            column = fleet.column_of[GPU_PREFIX + name]
            model = fleet.model_of[column]
            counts = (fleet.capacity[column] // DEVICE_MILLI).astype(np.int16)
            self.nodes.counts[model] = counts
            self.nodes.model[counts > most] = model
            most = np.maximum(most, counts)

    def _follow_places(self, fleet: Fleet) -> None:
        taken = self._taken()
        moved = self._places.follow(fleet.ids != 0, kinds_of(self.nodes.counts))
        if moved is None:
            self._unlogged.extend(taken.tolist())
            self._clear_log()
            self._kept_slots(len(self._slot))
        else:
            self._keys[:, moved] = FORGOTTEN
            self._note_places(moved)

    def _follow_order(self, fleet: Fleet) -> None:
        """Place of each node, as a part of a power of two, so that a new node moves no other."""
        known = np.flatnonzero(fleet.ids != 0)
        points = np.zeros(len(fleet.ids), np.int32)
        ranks = np.empty(len(known), np.int64)
        ranks[np.argsort(self.nodes.tie[known], kind="stable")] = np.arange(len(known))
        points[known] = ranks * POINTS // (1 << max(0, len(known) - 1).bit_length())
        moved = np.flatnonzero(points != self.nodes.points)
        self.nodes.points[:] = points
        self._unlogged.extend(moved.tolist())

    def _measure_again(self) -> None:
        """All scores, values and keys."""
        self._stale = False
        self._forget_rows()
        twin(measure_all)(self.nodes, np.arange(len(self.nodes.closed)))

    def _forget_rows(self) -> None:
        self._slot[:] = -1
        self._slot_way[:] = -1

    def _follow(self, fleet: Fleet, rows: Integers) -> None:
        """What these nodes have free is what the fleet says; the log names those for which that is new."""
        if not len(rows):
            return
        nodes = self.nodes
        nodes.free[:, rows] = fleet.capacity[:, rows] - fleet.used[:, rows]
        nodes.devices[:, rows] = fleet.device_free(rows)
        nodes.closed[rows] = False
        twin(measure_all)(nodes, rows)
        self._note(rows)

    def _taken(self) -> Integers:
        """Nodes of which the last plan took something."""
        log = self._log
        places = [log.places[group, self._synced[group] : log.length[group]] for group in range(len(log.length))]
        rows = self._places.row_at[np.unique(np.concatenate(places))] if places else np.zeros(0, np.int32)
        return rows[rows >= 0].astype(np.int64)

    def _note(self, rows: Integers) -> None:
        places = self._places.place[rows]
        self._note_places(places[places >= 0].astype(np.int64))

    def _note_places(self, places: Integers) -> None:
        """The log says that these are others now."""
        self.make_room(len(places))
        groups = np.searchsorted(self._places.first_block, places // BLOCK, side="right") - 1
        for group in range(len(self._log.length)):
            mine = places[groups == group]
            first = int(self._log.length[group])
            self._log.places[group, first : first + len(mine)] = mine
            self._log.last[mine] = np.arange(first, first + len(mine))
            self._log.length[group] = first + len(mine)

    def make_room(self, more: int) -> None:
        """In the log, for so many entries. Of each place only the last entry counts; when half of them are old, the old are dropped."""
        log = self._log
        longest = int(log.length.max(initial=0))
        if longest + more <= log.places.shape[1]:
            return
        for group, length in enumerate(log.length.tolist()):
            places = log.places[group, :length]
            kept = np.flatnonzero(log.last[places] == np.arange(length))
            if 2 * len(kept) < length:
                log.last[places[kept]] = np.arange(len(kept))
                log.places[group, : len(kept)] = places[kept]
                log.length[group] = len(kept)
                seen = self._slot_seen[:, group]
                self._slot_seen[:, group] = np.where(seen < 0, seen, np.searchsorted(kept, seen))
                self._synced[group] = np.searchsorted(kept, self._synced[group])
        longest = int(log.length.max(initial=0))
        if longest + more > log.places.shape[1]:
            wider = max(more, log.places.shape[1])
            self._log = log._replace(places=np.pad(log.places, ((0, 0), (0, wider))))

    def _maintenance(self, fleet: Fleet, now_seconds: float) -> float | None:
        """Close what is being maintained. When the next window begins or ends."""
        until: float | None = None
        closed: list[int] = []
        for row, windows in fleet.maintained.items():
            for start, stop in windows:
                if start <= now_seconds < stop and not self.nodes.closed[row]:
                    self.nodes.closed[row] = True
                    closed.append(row)
                for moment in (start, stop):
                    if moment > now_seconds and (until is None or moment < until):
                        until = moment
        if closed:
            self._note(np.array(closed, np.int64))
            self._unlogged.extend(closed)
        return until

    # Classes -------------------------------------------------------------------------------------------------------

    def _number_classes(self, fleet: Fleet, shapes: list[ShapeClass]) -> None:
        """Ways and permissions of classes that are new."""
        if len(shapes) > len(self._first):
            more = len(shapes)
            self._first, self._stop, self._kind, self._needs = (
                np.concatenate([values, np.zeros((more, *values.shape[1:]), values.dtype)])
                for values in (self._first, self._stop, self._kind, self._needs)
            )
        new_masks: list[Array] = []
        many_devices = self.nodes.devices.shape[2] > _DEVICES_LIMIT
        for number in range(self._numbered, len(shapes)):
            shape = shapes[number]
            single = shape.task_count == 1
            name = (shape.constraints, shape.image, single and shape.retryable)
            mask = self._mask_numbers.get(name)
            if mask is None:
                mask = self._mask_numbers[name] = len(self._mask_shapes)
                self._mask_shapes.append((shape, single))
                new_masks.append(self._mask(fleet, shape, single))
            group = next((group for group in shape.groups if group.count), shape.groups[0])
            self._first[number], self._stop[number] = self.ways.add(group, self._models, mask)
            self._kind[number] = SINGLE if single and not (group.request.gpu_milli and many_devices) else TOGETHER
            self._needs[number] = self.ways.needs(shape, self._models)
        self._numbered = len(shapes)
        if new_masks:
            self._masks = np.concatenate([self._masks, np.stack(new_masks)])
        if self.ways.count > len(self._slot):
            self._kept_slots(2 * self.ways.count)

    def classes(self, fleet: Fleet, present: Iterable[int]) -> Classes:
        """For one plan; `present` are the classes of which something waits."""
        kind, possible = self._kind.copy(), np.zeros(len(self._slot), np.bool_)
        for number in present:
            if kind[number] == SINGLE:
                ways = range(self._first[number], self._stop[number])
                for way in ways:
                    possible[way] = self._possible(fleet, way)
                if not any(possible[way] for way in ways):
                    kind[number] = IMPOSSIBLE
        return Classes(self._first, self._stop, kind, np.zeros(len(kind), np.bool_), possible, self._needs)

    def _possible(self, fleet: Fleet, way: int) -> bool:
        """Whether a task fits this way on some usable node that is empty."""
        if self._checked_structure != fleet.structure:
            self._checked_structure, self._checked = fleet.structure, {}
        known = self._checked.get(way)
        if known is None:
            witness = self._witness.get(way)
            known = witness is not None and bool(self._fits_empty(fleet, way, np.array([witness]))[0])
            if not known:
                rows = np.flatnonzero(self._fits_empty(fleet, way, slice(None)))
                known = len(rows) > 0
                if known:
                    self._witness[way] = int(rows[0])
            self._checked[way] = known
        return known

    def _fits_empty(self, fleet: Fleet, way: int, rows: Integers | slice) -> Integers:
        table = self.ways.table
        fits = self._masks[table.mask[way], rows] != 0
        for column, amount in zip(table.columns[way].tolist(), table.amounts[way].tolist(), strict=True):
            if column < 0:
                break
            fits = fits & (fleet.capacity[column, rows] >= amount)
        if table.model[way] >= 0:
            fits = fits & (fleet.capacity[table.device_column[way], rows] >= max(1, int(table.devices[way])) * 1000)
        return fits

    def rows(self) -> Rows:
        slots = self._slot, self._slot_way, self._slot_used, self._slot_seen, self._slot_learnt
        places = self._places
        return Rows(*slots, self._keys, self._best_key, self._best_row, self._masks, places.row_at, places.first_block, places.models)

    @property
    def log(self) -> Log:
        return self._log
