"""How one resource is divided down the tree when whoever wants some of it is taken to want all of it: the *slices*.

Guarantees: the slices of the children add up to no more than the parent's, none is above its ceiling; what a queue withholds
comes first, then guarantees (an over-promised capacity shrinks evenly among those that want it, and only as far as they want it),
then the surplus by weight, then, for queues of weight zero, what nobody else wants. A slice does not grow with the size of a claim
beyond the guarantee. Hierarchical weighted max-min fairness, a round of water after another.

Amounts in grains, weights in units. `wishes` are what the jobs of each leaf want altogether; the other arguments are columns of the tree.
"""

from __future__ import annotations

import numpy as np

from bushel.scheduling.fairness.arrays import Integers
from bushel.scheduling.fairness.water import water
from bushel.scheduling.kernels.mode import kernel


@kernel
def slices(
    capacity: int,
    parent: Integers,
    first_child: Integers,
    next_sibling: Integers,
    weight: Integers,
    promised_weight: Integers,
    promised: Integers,
    withheld_weight: Integers,
    withheld: Integers,
    ceiling: Integers,
    wishes: Integers,
    eager: bool,
    share: Integers,
) -> None:
    """Fill `share`. With `eager` the surplus is divided as if every claim were of everything; else claims count as they are."""
    count = len(parent)
    sure, need = np.zeros(count, np.int64), np.zeros(count, np.int64)  # of the children, then of the queue itself
    for row in range(count - 1, -1, -1):
        leaf = first_child[row] < 0
        sure[row] = max(withheld[row], min(wishes[row] if leaf else sure[row], ceiling[row]))
        wish = wishes[row] if leaf else need[row]
        if leaf and eager and wish > 0:
            wish = capacity
        need[row] = max(withheld[row], min(wish, ceiling[row]))
        if row > 0:
            above = parent[row]
            sure[above] = min(sure[above] + sure[row], capacity)
            need[above] = min(need[above] + need[row], capacity)
    rows, weights = np.empty(count, np.int64), np.empty(count, np.int64)
    rooms, grants = np.empty(count, np.int64), np.empty(count, np.int64)
    share[0] = min(capacity, need[0])
    for above in range(count):
        left = share[above]
        children = 0
        child = first_child[above]
        while child >= 0:
            rows[children] = child
            share[child] = 0
            children += 1
            child = next_sibling[child]
        for turn in range(4):
            if left <= 0:
                break
            for i in range(children):
                row = rows[i]
                if turn == 0:
                    weights[i], rooms[i] = withheld_weight[row], withheld[row]
                elif turn == 1:
                    weights[i], rooms[i] = promised_weight[row], min(promised[row], sure[row])
                else:
                    weights[i], rooms[i] = weight[row] if turn == 2 else 1, need[row]
                rooms[i] = max(rooms[i] - share[row], 0)
            left = water(left, weights, rooms, children, grants)
            for i in range(children):
                share[rows[i]] += grants[i]
