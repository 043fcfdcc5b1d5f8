"""What a plan decided, as columns: records are made of them when somebody looks.

Guarantees: nothing in here changes when the snapshot does; two plans that decided the same are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, overload

import numpy as np

from bushel.scheduling.decisions import Cause, Start, Waiting
from bushel.scheduling.entities import Run, ShapeClass
from bushel.scheduling.fleet import Integers
from bushel.scheduling.kernels import tables
from bushel.scheduling.kernels.tables import Record
from bushel.scheduling.quota import OverQuota

Item = TypeVar("Item")

CAUSES = {
    tables.NO_NODE: Cause.NO_NODE,
    tables.NO_ROOM: Cause.NO_ROOM,
    tables.QUOTA: Cause.QUOTA,
    tables.NOT_REACHED: Cause.NOT_REACHED,
}


class Lazy(Sequence[Item]):
    """A sequence whose items are made when they are asked for; equal to any sequence of equal items."""

    def __len__(self) -> int:
        raise NotImplementedError

    def item(self, at: int) -> Item:
        raise NotImplementedError

    @overload
    def __getitem__(self, at: int) -> Item: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Item]: ...
    def __getitem__(self, at: int | slice) -> Item | Sequence[Item]:
        if isinstance(at, slice):
            return tuple(self.item(place) for place in range(*at.indices(len(self))))
        place = at if at >= 0 else len(self) + at
        if not 0 <= place < len(self):
            raise IndexError(at)
        return self.item(place)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(Lazy._same, self, other))

    __hash__ = None  # type: ignore[assignment]

    @staticmethod
    def _same(one: Any, other: Any) -> bool:
        return one == other

    def __repr__(self) -> str:
        return repr(tuple(self))


@dataclass(frozen=True, slots=True)
class Places:
    """Where starts may lie, as it was when the plan was made."""

    node_ids: Integers  # of the started rows, in the order of the starts
    cluster_ids: Integers
    epochs: dict[int, int]


class Starts(Lazy[Start]):
    """`apart` are the placements of those that were not placed by a kernel, by position."""

    def __init__(
        self,
        count: int,
        record: Record,
        indices: Integers,
        queue_ids: Integers,
        places: Places,
        group_names: list[str],
        amounts: list[dict[str, int]],
        apart: dict[int, tuple[Run, ...]],
    ) -> None:
        self._count, self._record, self._indices, self._queue_ids = count, record, indices, queue_ids
        self._places, self._group_names, self._amounts, self._apart = places, group_names, amounts, apart
        self._plain: dict[tuple[int, int], tuple[Run, ...]] = {}  # equal placements are one object

    def __len__(self) -> int:
        return self._count

    def item(self, at: int) -> Start:
        cluster_id = int(self._places.cluster_ids[at])
        runs = self._apart.get(at) or self._runs(at)
        job_id, index = int(self._record.job[at]), int(self._indices[at])
        return Start(job_id, index, int(self._queue_ids[at]), cluster_id, self._places.epochs[cluster_id], runs)

    def job_ids(self) -> Integers:
        return self._record.job[: self._count]

    def node_ids(self) -> Integers:
        """Of each start; of a gang its first node."""
        return self._places.node_ids

    def _runs(self, at: int) -> tuple[Run, ...]:
        way, node_id, devices = int(self._record.way[at]), int(self._places.node_ids[at]), int(self._record.devices[at])
        if devices:
            return (Run(self._group_names[way], 0, 1, node_id, self._amounts[way], (_bits(devices),)),)
        found = self._plain.get((way, node_id))
        if found is None:
            found = self._plain[way, node_id] = (Run(self._group_names[way], 0, 1, node_id, self._amounts[way]),)
        return found


def _bits(mask: int) -> tuple[int, ...]:
    return tuple(bit for bit in range(mask.bit_length()) if mask >> bit & 1)


@dataclass(frozen=True, slots=True)
class LinesLeft:
    """Lines with something left: columns side by side."""

    queue_ids: Integers
    shapes: list[ShapeClass]  # by number
    klass: Integers
    cause: Integers
    first_job: Integers
    jobs: Integers
    elements: Integers


class Waits(Lazy[Waiting]):
    """`over_quota` says which limit is in the way of one more of a shape in a queue, whichever way it is met."""

    def __init__(self, left: LinesLeft, apart: list[Waiting], over_quota: Callable[[int, ShapeClass], OverQuota | None]) -> None:
        self._left, self._apart, self._over_quota = left, apart, over_quota

    def __len__(self) -> int:
        return len(self._apart) + len(self._left.klass)

    def item(self, at: int) -> Waiting:
        if at < len(self._apart):
            return self._apart[at]
        left, at = self._left, at - len(self._apart)
        queue_id, shape, cause = int(left.queue_ids[at]), left.shapes[left.klass[at]], CAUSES[int(left.cause[at])]
        over = self._over_quota(queue_id, shape) if cause in (Cause.QUOTA, Cause.NO_ROOM) else None
        return Waiting(queue_id, shape, cause, int(left.first_job[at]), int(left.jobs[at]), int(left.elements[at]), over)

    def of(self, queue_id: int, shape: ShapeClass) -> list[Waiting]:
        """What waits of one shape in one queue."""
        found = [waiting for waiting in self._apart if waiting.queue_id == queue_id and waiting.shape == shape]
        places = np.flatnonzero(self._left.queue_ids == queue_id).tolist()
        return found + [self.item(len(self._apart) + at) for at in places if self._left.shapes[self._left.klass[at]] == shape]

    def elements(self) -> int:
        return sum(waiting.elements for waiting in self._apart) + int(self._left.elements.sum())
