"""Smaller jobs go ahead of a larger one that does not fit, but not for ever.

Guarantees: whatever fits may start, however far behind it stands. Once the first job that does not fit has waited longer
than the policy's patience, the nodes it would use on an empty fleet are kept free: nothing that comes after it in order
starts there any more, so it starts when what runs there has ended. One job at a time has nodes kept for it, so no more than
that job's nodes are ever drained. The nodes are the freest that would hold it, so the choice
holds while they drain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bushel.domain.job import Constraints
from bushel.scheduling.feasibility import Choices
from bushel.scheduling.fit import Room
from bushel.scheduling.fleet import Integers
from bushel.scheduling.gangs import GangPlacement, place_gang


@dataclass(frozen=True, slots=True)
class KeptFree:
    """The nodes that are kept for an element which has waited long."""

    job_id: int
    index: int
    node_ids: tuple[int, ...]


def keep_free(
    room: Room, choices: tuple[Choices, ...], constraints: Constraints, job_id: int, index: int, excluded: frozenset[int]
) -> KeptFree | None:
    """Close the nodes that this element needs to everything that comes after it. None if even the empty fleet is too small."""
    rows = np.unique(np.concatenate([variant.rows for choice in choices for variant in choice.variants]))
    freest_first = rows[np.lexsort((room.fleet.ids[rows], -room.scores(rows)))]
    low, high = 1, len(freest_first)
    placement = None
    while low <= high:  # the fewest of the freest nodes that would hold it
        middle = (low + high) // 2
        found = _place_on(room, freest_first[:middle], choices, constraints, excluded)
        if found is None:
            low = middle + 1
        else:
            placement, high = found, middle - 1
    if placement is None:
        return None
    rows = sorted({piece.row for group in placement.pieces for piece in group})
    room.close(np.array(rows, np.int64))
    return KeptFree(job_id, index, tuple(sorted(int(room.fleet.ids[row]) for row in rows)))


def fits_empty(room: Room, choices: tuple[Choices, ...], constraints: Constraints, excluded: frozenset[int] = frozenset()) -> bool:
    """Whether the element could be placed if nothing else ran."""
    return place_gang(Room.empty(room), choices, constraints, lambda *_: True, excluded) is not None


def _place_on(
    room: Room, rows: Integers, choices: tuple[Choices, ...], constraints: Constraints, excluded: frozenset[int]
) -> GangPlacement | None:
    empty = Room.empty(room)
    empty.closed[:] = True
    empty.closed[rows] = False
    return place_gang(empty, choices, constraints, lambda *_: True, excluded)
