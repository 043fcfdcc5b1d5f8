"""Whole units from exact amounts, so that what is promised to parts adds up.

Guarantees: each leaf's part and each subtree's charge is within one unit of exact, a charge never above its ceiling if that is whole;
the totals of what is used are kept. Differences of floored running totals along the tree (a subtree is an interval of the
walk). An idle withheld part takes its place in the walk too, as nobody else may be given it.
"""

from __future__ import annotations

import numpy as np

from bushel.scheduling.fairness.arrays import Integers
from bushel.scheduling.kernels.mode import kernel

NUDGE_GRAINS = 1 << 18
"""Totals are raised by so much, at most 1/32 of a unit, so that one that should be whole and is a few grains short counts as whole."""

NUDGE_SHIFT = 5


@kernel
def whole_units(first_child: Integers, last: Integers, fraction: Integers, used: Integers, floor: Integers, whole: Integers) -> None:
    """Fill `whole` from `used`, for leaves; `used` and `floor` are in grains."""
    rows, columns = used.shape
    starts, ending = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    for c in range(columns):
        bits = fraction[c]
        nudge = min(NUDGE_GRAINS, (1 << bits) >> NUDGE_SHIFT)
        open_rows = 0  # the path of rows whose subtrees are not yet walked; `ending` holds them
        total = 0
        for row in range(rows + 1):
            while open_rows > 0 and (row == rows or last[ending[open_rows - 1]] <= row):
                closed = ending[open_rows - 1]
                open_rows -= 1
                total = max(total, starts[closed] + floor[closed, c])
            if row == rows:
                break
            starts[row] = total
            ending[open_rows] = row
            open_rows += 1
            if first_child[row] < 0:
                after = total + used[row, c]
                whole[row, c] = ((after + nudge) >> bits) - ((total + nudge) >> bits)
                total = after
