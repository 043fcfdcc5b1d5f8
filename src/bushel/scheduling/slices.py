"""Slices of a gang: so many ranks in a row lie within one place of a level, while the gang as a whole may lie wider.

Guarantees: exact for equal tasks: a place holds the sum, over the places of the level within it, of whole slices, and whoever asks for no
more than that gets it. The roomiest places are filled first, and the rest goes to the tightest that holds it, so that large holes stay.
"""

from __future__ import annotations

import numpy as np

from bushel.domain.job import Slices
from bushel.scheduling.fleet import Fleet, Integers


def usable(fleet: Fleet, rows: Integers, counts: Integers, slices: Slices | None) -> Integers:
    """What each node may hold: nothing where it names no place of the level."""
    return counts if slices is None else np.where(fleet.place_numbers(slices.level)[rows] >= 0, counts, 0)


def totals(fleet: Fleet, rows: Integers, counts: Integers, outer: Integers, places: int, slices: Slices | None) -> Integers:
    """How many tasks each of `places` holds; `outer` is the position of each node's own among them."""
    if slices is None:
        return np.bincount(outer, weights=counts, minlength=places).astype(np.int64)
    inner = fleet.place_numbers(slices.level)[rows]
    pairs, pair = np.unique(np.stack([outer, inner]), axis=1, return_inverse=True)
    held = np.bincount(pair.ravel(), weights=np.where(inner >= 0, counts, 0), minlength=pairs.shape[1]).astype(np.int64)
    return np.bincount(pairs[0], weights=held // slices.size * slices.size, minlength=places).astype(np.int64)


def total(fleet: Fleet, rows: Integers, counts: Integers, slices: Slices | None) -> int:
    """How many tasks these nodes hold together."""
    return int(totals(fleet, rows, counts, np.zeros(len(rows), np.int64), 1, slices)[0]) if len(rows) else 0


def dealt(fleet: Fleet, rows: Integers, counts: Integers, wanted: int, slices: Slices) -> list[tuple[Integers, int]]:
    """For each place of the level that gets some: its positions among `rows`, and how many tasks. `wanted` fits, in whole slices."""
    numbers = fleet.place_numbers(slices.level)[rows]
    names, place = np.unique(numbers, return_inverse=True)
    held = np.bincount(place, weights=np.where(numbers >= 0, counts, 0), minlength=len(names)).astype(np.int64)
    room = held // slices.size
    first_id = np.full(len(names), np.iinfo(np.int64).max)
    np.minimum.at(first_id, place, fleet.ids[rows])
    left = wanted // slices.size
    given: list[tuple[Integers, int]] = []
    order = np.lexsort((first_id, -room)).tolist()
    for at, number in enumerate(order):
        if room[number] >= left:  # the rest goes to the tightest that holds it
            number = min((one for one in order[at:] if room[one] >= left), key=lambda one: (room[one], held[one], first_id[one]))
        share = min(left, int(room[number]))
        if share:
            given.append((np.flatnonzero(place == number), share * slices.size))
        left -= share
        if not left:
            break
    return given
