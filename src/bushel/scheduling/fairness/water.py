"""Share an amount among claimants by weight, none beyond its room: one level of water for all of them.

Guarantees: grants are within rooms and add up to at most the amount; when all rooms fit, all are granted whole; otherwise every
claimant that is short of its room has `weight * level`, the same level for all. The order of claimants does not matter: a pass
compares each with one level and adds up integers. Weighted max-min fairness by progressive filling (Bertsekas and Gallager,
Data Networks, 6.5.2).
"""

from __future__ import annotations

from bushel.scheduling.fairness.arrays import Integers
from bushel.scheduling.kernels.mode import kernel

JUST_BELOW = 1.0 - 2.0**-48
"""A level is taken this much lower, so that rounding never grants more than there is."""


@kernel
def water(amount: int, weights: Integers, rooms: Integers, count: int, grants: Integers) -> int:
    """Fill `grants[:count]`. Returns what is left over: zero when somebody is short, and when no weight is positive the amount."""
    total, wanted = 0, 0
    for i in range(count):
        grants[i] = 0
        if weights[i] > 0 and rooms[i] > 0:
            total += weights[i]
            wanted = min(wanted + rooms[i], amount + 1)
    if wanted <= amount:
        for i in range(count):
            if weights[i] > 0 and rooms[i] > 0:
                grants[i] = rooms[i]
        return amount - wanted
    left = amount
    while True:  # each pass finds those whom the level satisfies; what they leave raises it for the others
        level = left / total * JUST_BELOW
        weight, satisfied = 0, 0
        for i in range(count):
            if weights[i] > 0 and rooms[i] > 0 and grants[i] == 0 and rooms[i] <= weights[i] * level:
                grants[i] = rooms[i]
                weight += weights[i]
                satisfied += rooms[i]
        if weight == 0:
            break
        left, total = left - satisfied, total - weight
    for i in range(count):
        if weights[i] > 0 and rooms[i] > 0 and grants[i] == 0:
            grants[i] = int(weights[i] * level)
    return 0
