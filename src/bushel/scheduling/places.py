"""Where the keys of each node lie in a row of keys: nodes with accelerators of the same models side by side, a group of blocks each.

Guarantees: every node that is known has one place, in the group whose models are its own or include them; group 0 are exactly the nodes
without accelerators. A node that comes, goes or gets other accelerators moves no other, as long as its group has room. Which place a node
has depends on history and decides nothing.
"""

from __future__ import annotations

import numpy as np

from bushel.scheduling.fleet import Integers, Mask
from bushel.scheduling.kernels.tables import BLOCK, MODELS_TOLD_APART, Array

_GROUPS_LIMIT = 16
_SPARE_PART = 8
"""A group has room for this part of its nodes again."""


class Places:
    def __init__(self, rows: int) -> None:
        self.group = np.zeros(rows, np.int32)
        self.place = np.full(rows, -1, np.int32)
        self.row_at = np.zeros(0, np.int32)  # -1 where there is none
        self.first_block = np.zeros(1, np.int64)  # of each group, and one past the last
        self.models = np.zeros(0, np.int64)  # of each group, a bit each
        self._group_of_kind: dict[int, int] = {}
        self._spare: list[list[int]] = []

    def follow(self, known: Mask, kinds: Integers) -> Integers | None:
        """Each of the known nodes has a place among those of its kind. Places that are somebody else's now; None if all are."""
        wanted = np.full(len(kinds), -1, np.int32)
        for kind in np.unique(kinds[known]).tolist():
            wanted[kinds == kind] = self._group_of_kind.get(kind, -1)
        astray = np.flatnonzero(known & ((self.place < 0) | (self.group != wanted)))
        rooms = [len(spare) for spare in self._spare]
        needed = np.bincount(wanted[astray] + 1, minlength=len(rooms) + 1)
        if needed[0] or (needed[1:] > rooms).any():
            self._lay_out(known, kinds)
            return None
        moved: list[int] = []
        for row in astray.tolist():
            before = int(self.place[row])
            if before >= 0:
                self.row_at[before] = -1
                self._spare[self.group[row]].append(before)
                moved.append(before)
            place = self._spare[wanted[row]].pop()
            self.row_at[place], self.place[row], self.group[row] = row, place, wanted[row]
            moved.append(place)
        return np.unique(np.array(moved, np.int64))

    def _lay_out(self, known: Mask, kinds: Integers) -> None:
        present, counts = np.unique(kinds[known & (kinds != 0)], return_counts=True)
        by_count = present[np.argsort(-counts, kind="stable")].tolist()
        alone, together = by_count[: _GROUPS_LIMIT - 2], by_count[_GROUPS_LIMIT - 2 :]
        groups = [[0], *([kind] for kind in alone), *([together] if together else [])]
        self._group_of_kind = {kind: number for number, members in enumerate(groups) for kind in members}
        self.models = np.array([np.bitwise_or.reduce(members) for members in groups], np.int64)
        self.place[:], self._spare = -1, []
        parts: list[Integers] = []
        bounds = [0]
        for number, members in enumerate(groups):
            rows = np.flatnonzero(known & np.isin(kinds, members))
            blocks = (len(rows) + len(rows) // _SPARE_PART) // BLOCK + 1
            first = bounds[-1] * BLOCK
            self.group[rows], self.place[rows] = number, np.arange(first, first + len(rows))
            parts.append(np.pad(rows, (0, blocks * BLOCK - len(rows)), constant_values=-1))
            self._spare.append(list(range(first + blocks * BLOCK - 1, first + len(rows) - 1, -1)))
            bounds.append(bounds[-1] + blocks)
        self.row_at, self.first_block = np.concatenate(parts).astype(np.int32), np.array(bounds, np.int64)


def kinds_of(counts: Array) -> Integers:
    """A bit for each model of which a node has devices; `counts` by model and node."""
    kinds = np.zeros(counts.shape[1], np.int64)
    for model, of_model in enumerate(counts):
        kinds |= (of_model > 0).astype(np.int64) << min(model, MODELS_TOLD_APART)
    return kinds
