"""Gangs: the tasks of an element are placed together or not at all, in one cluster.

Guarantees: every group gets its full count, or, where the document gives a smaller minimum and the full count does not fit,
at least that; all tasks lie within one place of the level that `require` names, and of the level that `prefer` names if any
such place has room. Of the places that hold the gang the one with least room for more of its kind is taken, so that large
holes stay. Within it a group lies on as few nodes as can be, or, with `spread`, as evenly over the places of that level as
their room allows. All tasks of a group get the same model of accelerator.

For one group this is exact: if some placement exists, one is found. Several groups of unlike shapes are placed largest
first; that is packing in several dimensions, and there a placement can be missed when room is very tight.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from bushel.domain.job import Constraints, Slices
from bushel.scheduling import slices as slicing
from bushel.scheduling.entities import Node
from bushel.scheduling.feasibility import Choices, Variant
from bushel.scheduling.fit import Piece, Room
from bushel.scheduling.fleet import DEVICE_MILLI, Integers

_COMBINATIONS_LIMIT = 32
"""Most combinations of accelerator models that are tried for one gang, in order of preference."""

_NUMBERS = re.compile("([0-9]+)")

_PLACES_LIMIT = 64
"""Most places that are tried for a gang of several groups; for one group the first that has room is right."""

Ask = Callable[[tuple[Variant, ...], tuple[int, ...]], bool]


@dataclass(frozen=True, slots=True)
class GangPlacement:
    """The pieces of each group, in the order of the document."""

    pieces: tuple[tuple[Piece, ...], ...]


def place_gang(
    room: Room, choices: tuple[Choices, ...], constraints: Constraints, quota_allows: Ask, excluded: frozenset[int] = frozenset()
) -> GangPlacement | None:
    """Place one element and take the room, or change nothing. `quota_allows` is asked with the variant and count of each group."""
    full = tuple(choice.group.count for choice in choices)
    least = tuple(choice.group.min_count for choice in choices)
    combinations = list(itertools.islice(itertools.product(*(choice.variants for choice in choices)), _COMBINATIONS_LIMIT))
    for wanted in (full, least) if least != full else (full,):
        for variants in combinations:
            if not quota_allows(variants, wanted) or any(room.hopeless(variant) for variant in variants):
                continue
            for level in _levels(constraints):
                for place in _places(room, variants, wanted, level, constraints.slices, excluded):
                    placed = _place_within(room, variants, wanted, full, place, constraints, quota_allows)
                    if placed is not None:
                        return placed
    return None


def _levels(constraints: Constraints) -> list[str]:
    outer = constraints.require or "cluster"
    if outer == "site":
        outer = "cluster"  # a gang stays in one cluster, and a cluster lies in one site
    return [outer] if constraints.prefer in (None, "site", outer) else [constraints.prefer, outer]


def tasks_by_place(room: Room, choices: Choices, constraints: Constraints) -> list[tuple[int, int]]:
    """For each place that must hold a whole gang: how many tasks of one group fit there now, all of one model. Place number first."""
    level = _levels(constraints)[-1]
    numbers = room.fleet.place_numbers(level)
    most: dict[int, int] = {}
    for variant in choices.variants:
        rows = variant.rows[numbers[variant.rows] >= 0]
        names, place = np.unique(numbers[rows], return_inverse=True)
        held = slicing.totals(room.fleet, rows, room.counts(variant, rows), place, len(names), constraints.slices)
        for name, count in zip(names.tolist(), held.tolist(), strict=True):
            most[name] = max(most.get(name, 0), count)
    return sorted(most.items())


@dataclass(frozen=True, slots=True)
class _Place:
    """For each group the allowed nodes within the place, and how many tasks each holds by itself."""

    rows: tuple[Integers, ...]
    counts: tuple[Integers, ...]


def _places(
    room: Room,
    variants: tuple[Variant, ...],
    wanted: tuple[int, ...],
    level: str,
    slices: Slices | None,
    excluded: frozenset[int],
) -> Iterator[_Place]:
    """The places of `level` in which each group fits by itself, tightest first."""
    fleet = room.fleet
    numbers = fleet.place_numbers(level)
    names, index_of = _numbered(room, level, numbers)
    rows_of: list[Integers] = []
    counts_of: list[Integers] = []
    enough = np.ones(len(names), np.bool_)
    spare = np.zeros(len(names), np.int64)
    for variant, count in zip(variants, wanted, strict=True):
        rows = variant.rows[numbers[variant.rows] >= 0]
        if excluded:
            rows = rows[~np.isin(fleet.ids[rows], list(excluded))]
        counts = slicing.usable(fleet, rows, room.counts(variant, rows), slices)
        total = slicing.totals(fleet, rows, counts, index_of[rows], len(names), slices)
        enough &= total >= count
        spare += total
        hit = counts > 0
        rows_of.append(rows[hit])
        counts_of.append(counts[hit])
    first_id = np.full(len(names), np.iinfo(np.int64).max)
    for rows in rows_of:
        np.minimum.at(first_id, index_of[rows], fleet.ids[rows])
    found = np.flatnonzero(enough)
    for place in found[np.lexsort((first_id[found], spare[found]))][:_PLACES_LIMIT].tolist():
        inside = [index_of[rows] == place for rows in rows_of]
        yield _Place(
            tuple(rows[mask] for rows, mask in zip(rows_of, inside, strict=True)),
            tuple(counts[mask] for counts, mask in zip(counts_of, inside, strict=True)),
        )


def _numbered(room: Room, level: str, numbers: Integers) -> tuple[Integers, Integers]:
    """The places of a level, and for each node the position of its own among them."""
    memo = room.fleet.memo
    if ("places", level) not in memo:
        memo["places", level] = np.unique(numbers, return_inverse=True)
    return memo["places", level]


def _place_within(
    room: Room,
    variants: tuple[Variant, ...],
    wanted: tuple[int, ...],
    full: tuple[int, ...],
    place: _Place,
    constraints: Constraints,
    quota_allows: Ask,
) -> GangPlacement | None:
    """Place every group in `place`, taking the room only if all of them fit; then grow those that may be larger."""
    alone, slices = len(variants) == 1, constraints.slices
    size = slices.size if slices is not None else 1
    if not alone:
        room.mark()
    pieces: list[list[Piece]] = [[] for _ in variants]
    placed = list(wanted)
    for number in sorted(range(len(variants)), key=lambda n: _hardness(room, variants[n], n)):
        rows, counts = place.rows[number], place.counts[number]
        if not alone:
            counts = slicing.usable(room.fleet, rows, room.counts(variants[number], rows), slices)
        if slicing.total(room.fleet, rows, counts, slices) < wanted[number]:
            room.undo()
            return None
        pieces[number] = _fill(room, variants[number], rows, counts, wanted[number], constraints)
    for number, variant in enumerate(variants):
        rows = place.rows[number]
        counts = slicing.usable(room.fleet, rows, room.counts(variant, rows), slices)
        more = min(full[number] - placed[number], slicing.total(room.fleet, rows, counts, slices))
        while more > 0 and not quota_allows(variants, tuple(p + more * (n == number) for n, p in enumerate(placed))):
            more = more // 2 // size * size
        if more > 0:
            pieces[number] += _fill(room, variant, rows, counts, more, constraints)
            placed[number] += more
    room.keep()
    return GangPlacement(tuple(tuple(group) for group in pieces))


def _hardness(room: Room, variant: Variant, number: int) -> tuple[float, float, int]:
    """Smaller is placed earlier: those with accelerators, then those that take the largest part of the largest node."""
    capacity = room.fleet.capacity
    part = max((amount / max(1, int(capacity[column].max())) for column, amount in variant.columns), default=0.0)
    return (-(variant.devices * DEVICE_MILLI + variant.share), -part, number)


def _fill(room: Room, variant: Variant, rows: Integers, counts: Integers, wanted: int, constraints: Constraints) -> list[Piece]:
    """Take room for exactly `wanted` tasks, which fit."""
    if not wanted:
        return []
    if constraints.slices is not None:
        groups = [
            _neighbours(room, rows[inside], _packed(room, rows[inside], counts[inside], share))
            for inside, share in slicing.dealt(room.fleet, rows, counts, wanted, constraints.slices)
        ]
        groups.sort(key=lambda chosen: _along_topology(room.fleet.nodes[int(room.fleet.ids[chosen[0][0]])]))
        return [room.take(variant, row, tasks) for chosen in groups for row, tasks in chosen]
    if constraints.spread is not None:
        shares = _spread(room, rows, counts, wanted, constraints.spread)
    else:
        shares = _packed(room, rows, counts, wanted)
    return [room.take(variant, row, tasks) for row, tasks in _neighbours(room, rows, shares)]


def _neighbours(room: Room, rows: Integers, shares: Integers) -> list[tuple[int, int]]:
    """The rows that get some, and how many, along the topology: neighbours get neighbouring ranks."""
    fleet = room.fleet
    chosen = [(row, tasks) for row, tasks in zip(rows.tolist(), shares.tolist(), strict=True) if tasks]
    return sorted(chosen, key=lambda item: _along_topology(fleet.nodes[int(fleet.ids[item[0]])]))


def _along_topology(node: Node) -> tuple[tuple[tuple[str | int, ...], ...], int]:
    """Level by level; `r2` is nearer to `r1` than `r10`."""
    return tuple((level, *_natural(place)) for level, place in node.topology), node.id


def _natural(name: str) -> tuple[str | int, ...]:
    """Texts and numbers in turn, so that numbers within names compare as such."""
    return tuple(int(part) if number % 2 else part for number, part in enumerate(_NUMBERS.split(name)))


def _packed(room: Room, rows: Integers, counts: Integers, wanted: int) -> Integers:
    """The roomiest nodes whole, and for the rest the tightest node that holds it."""
    order = np.lexsort((room.fleet.ids[rows], room.scores(rows), -counts))
    filled = np.cumsum(counts[order])
    last = int(np.searchsorted(filled, wanted))
    shares = np.zeros(len(rows), np.int64)
    shares[order[:last]] = counts[order[:last]]
    rest = wanted - (int(filled[last - 1]) if last else 0)
    able = order[last:][counts[order[last:]] >= rest]
    fewest = counts[able].min()
    shares[able[counts[able] == fewest][0]] = rest
    return shares


def _spread(room: Room, rows: Integers, counts: Integers, wanted: int, level: str) -> Integers:
    """Each place of `level` gets the same number, save those with less room; a node that names no such place is one by itself."""
    fleet = room.fleet
    numbers = fleet.place_numbers(level)[rows]
    numbers = np.where(numbers >= 0, numbers, -1 - rows)
    _, place = np.unique(numbers, return_inverse=True)
    capacity = np.bincount(place, weights=counts).astype(np.int64)
    first_id = np.full(len(capacity), np.iinfo(np.int64).max)
    np.minimum.at(first_id, place, fleet.ids[rows])
    given = evenly(wanted, capacity, first_id)
    shares = np.zeros(len(rows), np.int64)
    for number in np.flatnonzero(given).tolist():
        inside = np.flatnonzero(place == number)
        shares[inside] = _packed(room, rows[inside], counts[inside], int(given[number]))
    return shares


def evenly(wanted: int, capacity: Integers, order: Integers) -> Integers:
    """Deal `wanted` over places so that the largest share is as small as can be; what is left over goes to the lowest `order`.

    Requires: the capacities sum to at least `wanted`.
    """
    low, high = 0, int(capacity.max(initial=0))
    while low < high:  # the lowest level that holds them all
        middle = (low + high) // 2
        if int(np.minimum(capacity, middle).sum()) >= wanted:
            high = middle
        else:
            low = middle + 1
    given = np.minimum(capacity, low)
    surplus = int(given.sum()) - wanted
    full = np.flatnonzero(given == low)
    given[full[np.argsort(order[full])][::-1][:surplus]] -= 1
    return given
