"""What the jobs of every leaf want, added up by the set of resources they need.

Guarantees: an element that could never start, because it is larger than a ceiling above it or than the fleet, or needs what
the fleet does not have, counts for nothing: such demand would only take from others. Summing jobs that need the same resources
loses nothing, they rise and stop together. The order of demands does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from bushel.scheduling.fairness.arrays import LARGEST_CLAIM, UNBOUNDED, Integers
from bushel.scheduling.fairness.tree import Tree


@dataclass(frozen=True, slots=True)
class Demand:
    """`count` elements of one queue, running or ready to. Each needs the amounts of the first of `ways`, or else of the second, …

    What runs has one way: the one that it took.
    """

    queue_id: int
    ways: tuple[Mapping[str, int], ...]
    count: int = 1


@dataclass(frozen=True, eq=False)
class Shapes:
    """Shape `k` is of `leaf[k]`, needs the columns of `mask[k]`, a bit each, and of these the parts from `part_start[k]` on; `start[v]` is
    the first shape of the rows from `v` on. They ascend by leaf and mask. `wanted` is exact, by row and column; leaves only.
    """

    mask: Integers  # of Python's integers where there are more columns than bits
    start: Integers
    leaf: Integers
    part_start: Integers
    part_column: Integers
    part_amount: Integers
    wanted: Integers

    @property
    def keys(self) -> tuple[tuple[int, int], ...]:
        """Leaf and set of resources."""
        return tuple(zip(self.leaf.tolist(), self.mask.tolist(), strict=True))


def startable(tree: Tree, leaf: int, amounts: Mapping[str, int]) -> bool:
    """Whether one element could ever start."""
    for name, amount in amounts.items():
        if amount > 0:
            column = tree.columns.get(name)
            if column is None or amount > tree.path_ceiling[leaf, column]:
                return False
    return True


def shapes_of(tree: Tree, demands: Iterable[Demand]) -> Shapes:
    """Sum demands of one way each."""
    sums: dict[tuple[int, int], dict[int, int]] = {}
    ceilings, columns, leaf_of = tree.path_ceiling.tolist(), tree.columns, tree.leaf_of
    for demand in demands:
        leaf, count = leaf_of.get(demand.queue_id), demand.count
        if leaf is None or count <= 0:
            continue
        mask, parts, ceiling = 0, [], ceilings[leaf]
        for name, amount in demand.ways[0].items():
            if amount > 0:
                column = columns.get(name, -1)
                if column < 0 or amount > ceiling[column]:
                    break  # it could never start
                mask |= 1 << column
                parts.append((column, amount * count))
        else:
            table = sums.setdefault((leaf, mask), {})
            for column, amount in parts:
                table[column] = table.get(column, 0) + amount
    keys = sorted(key for key in sums if key[1])
    wanted = np.zeros((tree.row_count, len(columns)), np.int64)
    leaves = [leaf for leaf, _ in keys]
    part_start, part_column, exact = [0], [], []
    most = [min(LARGEST_CLAIM << bits, UNBOUNDED >> 6) for bits in tree.shift.tolist()]
    for key in keys:
        for column, amount in sorted(sums[key].items()):
            part_column.append(column)
            exact.append(min(amount, most[column]))
        part_start.append(len(part_column))
    parts = np.array(part_column, np.int64), np.array(exact, np.int64)
    part_leaf = np.repeat(np.array(leaves, np.int64), np.diff(part_start))
    np.add.at(wanted, (part_leaf, parts[0]), parts[1])
    np.minimum(wanted, np.array(most, np.int64), out=wanted)
    part_amount = -(-parts[1] >> tree.shift[parts[0]])
    leaf = np.array(leaves, np.int64)
    start = np.searchsorted(leaf, np.arange(tree.row_count + 1)).astype(np.int64)
    mask = np.array([mask for _, mask in keys], np.int64 if len(columns) < 63 else object)
    return Shapes(mask, start, leaf, np.array(part_start, np.int64), parts[0], part_amount, wanted)
