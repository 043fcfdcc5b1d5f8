"""Demand as columns: what thousands of queues want, added up by queue and set of resources without a step for each job.

Guarantees: the same shapes as the same demands one by one would give where each has one way. Demand that may be met in several ways is
counted once, as `flavors` says: guarantees of hardware first, then what is left of each kind by preference, then all kinds in
proportion to what there is. Queues that want the same kinds are dealt the same mix, so any number of queues is one problem.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bushel.scheduling.fairness.arrays import LARGEST_CLAIM, UNBOUNDED, Flags, Integers
from bushel.scheduling.fairness.demand import Shapes
from bushel.scheduling.fairness.flavors import Kind, mixes
from bushel.scheduling.fairness.shares import add_up
from bushel.scheduling.fairness.tree import Tree
from bushel.scheduling.kernels.mode import kernel, twin

_LARGEST = UNBOUNDED >> 6
_ELEMENTS_LIMIT = 1 << 30
"""More elements of one kind than this are dealt several at once."""


class Block(NamedTuple):
    """Queue `queue_ids[i]` wants `counts[i]` elements; met in way w they take `amounts[w, i]` altogether, by column of the tree."""

    queue_ids: Integers
    counts: Integers
    amounts: Integers  # way × row × column


class _Claims(NamedTuple):
    leaf: Integers
    elements: Integers  # in a unit that is the same for all rows
    amounts: Integers  # way × row × column
    kind: Kind


def shapes_of_blocks(tree: Tree, blocks: list[Block]) -> Shapes:
    leaves, amounts, claims = [np.zeros(0, np.int64)], [np.zeros((0, len(tree.columns)), np.int64)], list[_Claims]()
    for block in blocks:
        leaf = tree.leaves(block.queue_ids)
        mean = -(-block.amounts // np.maximum(block.counts, 1)[None, :, None])
        possible = (mean <= tree.path_ceiling[leaf][None]).all(axis=2) & (leaf >= 0) & (block.counts > 0)
        for ways, rows in _alike(possible):
            if len(ways) > 1:
                claims.append(_claims(tree, leaf[rows], block.counts[rows], block.amounts[ways][:, rows]))
            elif len(ways):
                leaves.append(leaf[rows])
                amounts.append(np.minimum(block.amounts[ways[0], rows], _LARGEST))
    for one, given in zip(claims, _given(tree, claims, np.concatenate(leaves), np.concatenate(amounts)) if claims else (), strict=True):
        for way in range(len(one.kind)):
            leaves.append(one.leaf)
            amounts.append(_part(np.minimum(one.amounts[way], _LARGEST), given[:, way], one.elements))
    return _added_up(tree, np.concatenate(leaves), np.concatenate(amounts))


def _alike(possible: Flags) -> Iterator[tuple[Integers, Integers]]:
    """Ways, and the rows for which just these are possible."""
    pattern = np.zeros(possible.shape[1], np.int64 if len(possible) < 63 else object)
    for of_way in possible:
        pattern = (pattern << 1) | of_way
    for one in np.unique(pattern).tolist():
        rows = np.flatnonzero(pattern == one)
        yield np.flatnonzero(possible[:, rows[0]]), rows


def _claims(tree: Tree, leaf: Integers, counts: Integers, amounts: Integers) -> _Claims:
    order = np.argsort(leaf, kind="stable")
    leaf, counts, amounts = leaf[order], counts[order], amounts[:, order]
    elements = int(counts.sum())
    several = -(-elements // _ELEMENTS_LIMIT)
    totals = amounts.astype(np.float64).sum(axis=1)
    parts = totals / np.maximum(tree.exact_capacity, 1)
    kind: list[tuple[int, int]] = []
    for way in range(len(amounts)):
        others = np.delete(totals, way, axis=0)
        telling = (totals[way] > 0) & (others < totals[way]).any(axis=0)
        column = int(np.argmax(np.where(telling if telling.any() else totals[way] > 0, parts[way], -1.0)))
        kind.append((column, max(1, int(totals[way, column] // elements) * several)))
    first, unit = kind[0]
    return _Claims(leaf, np.maximum(1, -(-amounts[0, :, first] // unit)), amounts, tuple(kind))


def _given(tree: Tree, claims: list[_Claims], leaf: Integers, amounts: Integers) -> list[Integers]:
    """Elements of each row by way."""
    wanted = np.zeros((tree.row_count, len(tree.columns)), np.int64)
    np.add.at(wanted, leaf, amounts)
    wanted = np.minimum(wanted, UNBOUNDED // tree.row_count)
    twin(add_up)(tree.parent, wanted)
    given = [np.zeros((len(one.leaf), len(one.kind)), np.int64) for one in claims]
    left = [one.elements.copy() for one in claims]
    for number in sorted(range(len(claims)), key=lambda number: claims[number].kind):
        kind = np.array(claims[number].kind, np.int64)
        twin(claim_guarantees)(tree.parent, tree.exact_promised, kind, claims[number].leaf, wanted, given[number], left[number])
    free = [max(0, capacity - total) for capacity, total in zip(tree.exact_capacity.tolist(), wanted[0].tolist(), strict=True)]
    kinds = sorted({one.kind for one in claims})
    counts = [sum(int(some.sum()) for one, some in zip(claims, left, strict=True) if one.kind == kind) for kind in kinds]
    for kind, mix in zip(kinds, mixes(kinds, counts, free, tree.exact_capacity.tolist()), strict=True):
        members = [number for number, one in enumerate(claims) if one.kind == kind]
        together, rest = np.concatenate([given[number] for number in members]), np.concatenate([left[number] for number in members])
        twin(deal)(np.array(mix, np.int64), rest, together)
        for number, part in zip(members, np.split(together, np.cumsum([len(left[number]) for number in members])[:-1]), strict=True):
            given[number] = part
    return given


def _part(amounts: Integers, given: Integers, count: Integers) -> Integers:
    """`given` of `count` parts, rounded up."""
    whole, rest = amounts // count[:, None], amounts % count[:, None]
    return whole * given[:, None] + -(-rest * given[:, None] // count[:, None])


def _added_up(tree: Tree, leaf: Integers, amounts: Integers) -> Shapes:
    width = len(tree.columns)
    needed: Flags = amounts > 0
    mask = np.zeros(len(leaf), np.int64 if width < 63 else object)
    for column in range(width):
        mask |= needed[:, column].astype(mask.dtype) << column
    masks, kind = np.unique(mask, return_inverse=True)
    name = leaf * max(1, len(masks)) + kind
    order = np.argsort(name, kind="stable")
    order = order[mask[order] != 0]
    firsts = np.flatnonzero(np.diff(name[order], prepend=-1))
    most = np.array([min(LARGEST_CLAIM << bits, _LARGEST) for bits in tree.shift.tolist()], np.int64)
    sums = np.add.reduceat(amounts[order], firsts, axis=0) if len(order) else amounts[:0]
    sums = np.minimum(sums, most)
    leaf, mask = leaf[order][firsts], mask[order][firsts]
    row, column = np.nonzero(sums)
    wanted = np.zeros((tree.row_count, width), np.int64)
    np.add.at(wanted, leaf, sums)
    np.minimum(wanted, most, out=wanted)
    part_start = np.searchsorted(row, np.arange(len(leaf) + 1)).astype(np.int64)
    start = np.searchsorted(leaf, np.arange(tree.row_count + 1)).astype(np.int64)
    return Shapes(mask, start, leaf, part_start, column.astype(np.int64), -(-sums[row, column] >> tree.shift[column]), wanted)


@kernel
def claim_guarantees(
    parent: Integers, promised: Integers, kind: Integers, leaf: Integers, wanted: Integers, given: Integers, left: Integers
) -> None:
    """Give each row first what it, or a queue above it, is guaranteed and nobody claims. The nearest guarantee first."""
    for i in range(len(leaf)):
        for way in range(len(kind)):
            column, amount = kind[way, 0], kind[way, 1]
            row = leaf[i]
            while row > 0:
                count = min(left[i], max(0, promised[row, column] - wanted[row, column]) // amount)
                if count > 0:
                    given[i, way] += count
                    left[i] -= count
                    above = leaf[i]
                    while above >= 0:
                        wanted[above, column] += amount * count
                        above = parent[above]
                row = parent[row]


@kernel
def deal(mix: Integers, left: Integers, given: Integers) -> None:
    """Add to each row its part of the mix, in whole elements: as near as can be to its part of all so far."""
    ways = len(mix)
    total = 0
    for i in range(len(left)):
        total += left[i]
    total = max(1, total)
    dealt, part, short = np.zeros(ways, np.int64), np.zeros(ways, np.int64), np.zeros(ways, np.int64)
    met = 0
    for i in range(len(left)):
        met += left[i]
        missing = left[i]
        for way in range(ways):
            short[way] = mix[way] * met - dealt[way] * total
            part[way] = max(0, short[way] // total)
            missing -= part[way]
        while missing != 0:
            chosen, best = -1, 0
            for way in range(ways):
                if missing < 0 and part[way] == 0:
                    continue
                over = part[way] * total - short[way]
                if chosen < 0 or (missing > 0 and over < best) or (missing < 0 and over >= best):
                    chosen, best = way, over
            part[chosen] += 1 if missing > 0 else -1
            missing += -1 if missing > 0 else 1
        for way in range(ways):
            given[i, way] += part[way]
            dealt[way] += part[way]
