"""The fewest elements to stop so that a claim fits: what it takes beside what is free, and nothing that is not needed.

Guarantees: without any one of those chosen the claim would not fit, for a claim of one group; for one of several groups as far as
`gangs` can tell, and with more than 64 chosen only at the places that were chosen. Two ways of choosing are tried and the one that
loses less is taken: victim by victim in their order, and node by node, the nodes where a task costs the least first; whichever of
the two, the shortest beginning that makes room is found by halving, and what turns out unneeded is given back, the costliest first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from bushel.domain.job import Constraints
from bushel.scheduling.feasibility import Choices, Variant
from bushel.scheduling.fit import Piece, Room
from bushel.scheduling.fleet import DEVICE_MILLI, Devices, Integers, Mask
from bushel.scheduling.gangs import place_gang
from bushel.scheduling.victims import Holdings, Victims, without

EXACT_LIMIT = 64
"""Up to so many are tried one by one against every place."""

Charges = Callable[[Mask, tuple[Variant, ...], tuple[int, ...]], bool]
"""Whether the quotas allow the claim met with these, once those attempts are gone."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What must fit: `count` tasks anywhere, if `apart`, else one gang of the least that its groups may have."""

    choices: tuple[Choices, ...]
    constraints: Constraints
    apart: bool
    count: int = 1
    excluded: frozenset[int] = frozenset()

    @property
    def wanted(self) -> tuple[int, ...]:
        return (self.count,) if self.apart else tuple([choice.group.min_count for choice in self.choices])

    @property
    def level(self) -> str | None:
        """Within one place of which it must fit; None: anywhere."""
        if self.apart:
            return None
        return "cluster" if self.constraints.require in (None, "site") else self.constraints.require


@dataclass(frozen=True, slots=True)
class _Nodes:
    """Nodes as they are with some victims gone, or back, and how many tasks each holds then."""

    rows: Integers
    free: Integers
    devices: Devices
    counts: Integers


@dataclass(frozen=True, slots=True)
class _Base:
    """Nodes that a claim may use: how many tasks each holds, the number of its place, and where each node of the fleet stands here."""

    rows: Integers
    counts: Integers
    place: Integers
    at: Integers


class Search:
    """For one claim. `room` is what is free, with what comes free anyway."""

    def __init__(self, room: Room, claim: Claim, holdings: Holdings, victims: Victims, charges: Charges) -> None:
        self._room, self._claim, self._holdings, self._victims, self._charges = room, claim, holdings, victims, charges
        self._bases: dict[int, _Base] = {}

    @property
    def holdings(self) -> Holdings:
        return self._holdings

    def exact(self, gone: Mask) -> bool:
        """Whether the claim surely does not fit with any one of these back."""
        first, *others = self._claim.choices
        if others or self._claim.level is None or int(gone.sum()) <= EXACT_LIMIT:
            return not others
        _, totals = self._totals(first.variants[0], gone)
        return int((totals >= self._claim.wanted[0]).sum()) == 1

    def least(self) -> Mask | None:
        """Whom to stop; nobody if it fits without. None: even without all of them it does not fit."""
        count = len(self._victims)
        nobody, all_of_them = np.zeros(count, np.bool_), np.ones(count, np.bool_)
        if self.fits(nobody):
            return nobody
        if not count or not self.fits(all_of_them):
            return None
        found = [self._trimmed(self._shortest(order)) for order in (np.arange(count), self._node_by_node())]
        return min(found, key=self._loss)

    def fits(self, gone: Mask) -> bool:
        return self.way(gone) is not None

    def way(self, gone: Mask) -> tuple[Variant, ...] | None:
        """How the claim is met once these are gone."""
        claim = self._claim
        first, *others = claim.choices
        if others:
            placed = self._place(without(self._room, self._holdings, gone), gone)
            return None if placed is None else tuple(piece.variant for pieces in placed for piece in pieces[:1])
        for variant in first.variants:
            if self._charges(gone, (variant,), claim.wanted):
                _, totals = self._totals(variant, gone)
                if len(totals) and int(totals.max()) >= claim.wanted[0]:
                    return (variant,)
        return None

    def placed(self, gone: Mask) -> tuple[Room, tuple[tuple[Piece, ...], ...]]:
        """Where it goes once these are gone, and what is left then. It fits."""
        room = without(self._room, self._holdings, gone)
        if not self._claim.apart:
            return room, self._place(room, gone) or ()
        variants = self.way(gone)
        rest, pieces = self._claim.count, []
        for variant in variants or ():
            rows = self._rows(variant)
            for row, count in zip(rows.tolist(), room.counts(variant, rows).tolist(), strict=True):
                if rest and count:
                    pieces.append(room.take(variant, row, min(rest, count)))
                    rest -= pieces[-1].tasks
        return room, (tuple(pieces),)

    def _place(self, room: Room, gone: Mask) -> tuple[tuple[Piece, ...], ...] | None:
        claim = self._claim
        least = tuple(replace(choice, group=replace(choice.group, count=choice.group.min_count)) for choice in claim.choices)
        found = place_gang(room, least, claim.constraints, lambda variants, counts: self._charges(gone, variants, counts), claim.excluded)
        return None if found is None else found.pieces

    def _rows(self, variant: Variant) -> Integers:
        rows, fleet = variant.rows, self._room.fleet
        if self._claim.excluded:
            rows = rows[~np.isin(fleet.ids[rows], list(self._claim.excluded))]
        if self._claim.level is not None:
            rows = rows[fleet.place_numbers(self._claim.level)[rows] >= 0]
        return rows

    def _places(self, rows: Integers) -> Integers:
        """For each row the number of its place, from 0."""
        if self._claim.level is None:
            return np.zeros(len(rows), np.int64)
        return np.unique(self._room.fleet.place_numbers(self._claim.level)[rows], return_inverse=True)[1]

    def _base(self, variant: Variant) -> _Base:
        """Of a variant of the only group, with nobody gone."""
        if id(variant) not in self._bases:
            rows = self._rows(variant)
            at = np.full(len(self._room.fleet.ids), -1, np.int64)
            at[rows] = np.arange(len(rows))
            self._bases[id(variant)] = _Base(rows, self._room.counts(variant, rows), self._places(rows), at)
        return self._bases[id(variant)]

    def _totals(self, variant: Variant, gone: Mask) -> tuple[Integers, Integers]:
        """How many tasks each node and each place holds once these are gone: only the nodes that they leave are counted again."""
        base, holdings, room = self._base(variant), self._holdings, self._room
        counts = base.counts
        entries = np.flatnonzero(gone[holdings.who] & (base.at[holdings.row] >= 0))
        if holdings.unpinned:
            counts = without(room, holdings, gone).counts(variant, base.rows)
        elif len(entries):
            nodes = self._changed(room, variant, entries, 1)
            counts = counts.copy()
            counts[base.at[nodes.rows]] = nodes.counts
        return counts, np.bincount(base.place, weights=counts).astype(np.int64)

    def _changed(self, room: Room, variant: Variant, entries: Integers, sign: int) -> _Nodes:
        """The nodes of these entries with what they hold gone, or with a `sign` of -1 back."""
        holdings = self._holdings
        rows, at = np.unique(holdings.row[entries], return_inverse=True)
        free, devices = room.free[:, rows], room.nodes.devices[:, rows]
        for column, amounts in zip(free, holdings.amounts, strict=True):
            np.add.at(column, at, sign * amounts[entries])
        for of_model, parts in zip(devices, holdings.parts, strict=True):
            np.add.at(of_model, at, (sign * parts[entries]).astype(of_model.dtype))
        return _Nodes(rows, free, devices, np.where(room.closed[rows], 0, self._counts_of(variant, free, devices)))

    def _shortest(self, turn: Integers) -> Mask:
        """The fewest turns that make room; each of the victims goes in its turn."""
        low, high = 1, int(turn.max()) + 1
        while low < high:
            middle = (low + high) // 2
            if self.fits(turn < middle):
                high = middle
            else:
                low = middle + 1
        return turn < high

    def _node_by_node(self) -> Integers:
        """Those on a node together: first where nobody of a nearer queue stands, then where a task costs the least."""
        holdings, claim, victims = self._holdings, self._claim, self._victims
        everybody = without(self._room, holdings, np.ones(len(victims), np.bool_))
        count = len(self._room.fleet.ids)
        gains = np.zeros(count, np.int64)
        for choice in claim.choices:
            for variant in choice.variants:
                gained = everybody.counts(variant, variant.rows) - self._room.counts(variant, variant.rows)
                gains[variant.rows] = np.maximum(gains[variant.rows], gained)
        worst = np.full(count, np.iinfo(np.int64).min)
        np.maximum.at(worst, holdings.row, victims.nearness[holdings.who])
        price = np.bincount(holdings.row, weights=victims.lost_seconds[holdings.who], minlength=count) / np.maximum(gains, 1)
        rows = np.unique(holdings.row)
        of_use = gains[rows] > 0
        ids = self._room.fleet.ids[rows]
        order = np.lexsort((ids, np.where(of_use, price[rows], 0.0), np.where(of_use, worst[rows], 0), ~of_use))
        turn_of_row = np.zeros(count, np.int64)
        turn_of_row[rows[order]] = np.arange(len(rows))
        turn = np.full(len(victims), len(rows))  # what lies on no node that is known goes last
        np.minimum.at(turn, holdings.who, turn_of_row[holdings.row])
        return turn

    # What is not needed --------------------------------------------------------------------------------------------

    def _trimmed(self, gone: Mask) -> Mask:
        """Without those that are not needed."""
        if len(self._claim.choices) == 1:
            gone = self._trimmed_in_place(gone)
        if int(gone.sum()) <= EXACT_LIMIT:
            for number in np.flatnonzero(gone)[::-1].tolist():
                gone[number] = False
                if not self.fits(gone):
                    gone[number] = True
        return gone

    def _trimmed_in_place(self, gone: Mask) -> Mask:
        """At the one place that costs the least of those that have room, by counting what each adds there."""
        variants = self.way(gone)
        if variants is None:
            return gone
        variant = variants[0]
        room, base = without(self._room, self._holdings, gone), self._base(variant)
        rows, place = base.rows, base.place
        counts, totals = self._totals(variant, gone)
        chosen = self._cheapest(gone, rows, place, np.flatnonzero(totals >= self._claim.wanted[0]))
        surplus = int(totals[chosen]) - self._claim.wanted[0]
        count_of = np.zeros(len(room.fleet.ids), np.int64)
        count_of[rows[place == chosen]] = counts[place == chosen]
        before = np.zeros(len(room.fleet.ids), np.int64)
        before[rows] = base.counts
        useful = np.zeros(len(gone), np.bool_)
        np.logical_or.at(useful, self._holdings.who, count_of[self._holdings.row] > before[self._holdings.row])
        kept = gone & useful
        if not self._charges(kept, variants, self._claim.wanted):
            return gone  # some make room in a quota, not on a node
        unneeded = self._adds(room, variant, kept, count_of)
        room = without(self._room, self._holdings, kept)
        order, first = self._entries()
        left = np.flatnonzero(kept & (unneeded <= surplus))[::-1]
        most = 1
        while len(left):  # as if one by one; where all of some go back, twice as many are tried together
            some = left[:most]
            entries = np.concatenate([order[first[number] : first[number + 1]] for number in some.tolist()])
            entries = entries[count_of[self._holdings.row[entries]] > 0]
            kept[some] = False
            back = self._with_back(room, variant, entries, kept)
            less = int((count_of[back.rows] - back.counts).sum())
            if less <= surplus and self._charges(kept, variants, self._claim.wanted):
                surplus -= less
                count_of[back.rows], room.free[:, back.rows], room.nodes.devices[:, back.rows] = back.counts, back.free, back.devices
                left, most = left[most:], 2 * most
            else:
                kept[some] = True
                left, most = (left[1:], 1) if most == 1 else (left, 1)
        return kept

    def _entries(self) -> tuple[Integers, Integers]:
        """Entries of the holdings by victim, and where those of each begin."""
        who = self._holdings.who
        return np.argsort(who, kind="stable"), np.concatenate([[0], np.cumsum(np.bincount(who, minlength=len(self._victims)))])

    def _with_back(self, room: Room, variant: Variant, entries: Integers, kept: Mask) -> _Nodes:
        """The nodes of these entries with them back; `kept` are gone then."""
        back = self._changed(room, variant, entries, -1)
        if not self._holdings.unpinned:
            return back
        return replace(back, counts=without(self._room, self._holdings, kept).counts(variant, back.rows))

    def _counts_of(self, variant: Variant, free: Integers, devices: Devices) -> Integers:
        """How many tasks fit on nodes with this much free."""
        counts = np.full(free.shape[1], 1 << 20, np.int64)
        for column, amount in variant.columns:
            counts = np.minimum(counts, free[column] // amount)
        if variant.device_column is not None:
            counts = np.minimum(counts, _device_counts(variant, devices[self._room.fleet.model_of[variant.device_column]]))
        return np.maximum(counts, 0)

    def _adds(self, room: Room, variant: Variant, kept: Mask, count_of: Integers) -> Integers:
        """What the place would hold less, at least, with each of them back alone; 0 where that is not known."""
        holdings = self._holdings
        adds = np.zeros(len(kept), np.int64)
        entries = np.flatnonzero(kept[holdings.who] & (count_of[holdings.row] > 0))
        if holdings.unpinned or not len(entries):
            return adds
        rows = holdings.row[entries]
        free, devices = room.free[:, rows] - holdings.amounts[:, entries], room.nodes.devices[:, rows] - holdings.parts[:, entries]
        counts = self._counts_of(variant, free, devices)
        np.add.at(adds, holdings.who[entries], np.maximum(0, count_of[holdings.row[entries]] - counts))
        return adds

    def _cheapest(self, gone: Mask, rows: Integers, place: Integers, able: Integers) -> int:
        """Of the places that have room, the one at which the least is lost."""
        if len(able) == 1:
            return int(able[0])
        place_of = np.full(len(self._room.fleet.ids), -1, np.int64)
        place_of[rows] = place
        at = place_of[self._holdings.row]
        paid = gone[self._holdings.who] & np.isin(at, able)
        count = len(gone)
        pairs = np.unique(at[paid] * count + self._holdings.who[paid])  # who lies on several nodes of a place is lost there once
        lost = np.bincount(pairs // count, weights=self._victims.lost_seconds[pairs % count] + 1.0, minlength=int(able.max()) + 1)
        first = np.full(int(place.max()) + 1, np.iinfo(np.int64).max)
        np.minimum.at(first, place, self._room.fleet.ids[rows])
        return int(able[np.lexsort((first[able], lost[able]))[0]])

    def _loss(self, gone: Mask) -> tuple[int, float, int]:
        """Smaller is better: nobody of a nearer queue, then little work, then few."""
        victims = self._victims
        return int(victims.nearness[gone].max(initial=-(1 << 30))), float(victims.lost_seconds[gone].sum()), int(gone.sum())


def _device_counts(variant: Variant, devices: Integers) -> Integers:
    if variant.share:
        return (np.clip(devices, 0, DEVICE_MILLI) // variant.share).sum(axis=1)
    return (devices >= DEVICE_MILLI).sum(axis=1) // variant.devices
