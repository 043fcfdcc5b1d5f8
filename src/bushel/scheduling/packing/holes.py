"""What a hole of so many thousandths of a device is worth, given the shares that are asked for.

Guarantees: a function of the demand alone; never falls as the hole grows; 1000 for a whole device and 0 for nothing. Cutting stock by
column generation (Gilmore & Gomory, Operations Research 9, 1961): the fewest devices that hold all shares, patterns priced by a
knapsack; at its optimum the duals are what each share is worth, and a hole is worth the best shares that fill it.
"""

from __future__ import annotations

import numpy as np

from bushel.scheduling.packing.tables import DEVICE_MILLI, Floats

_ENOUGH = 1e-7
_ROUNDS_LIMIT = 200


def hole_prices(sizes: list[int], counts: list[float]) -> Floats:
    """Prices of holes of 0 … 1000 thousandths. `sizes` are shares below a whole device, rising; `counts` how many of each."""
    prices = np.zeros(DEVICE_MILLI + 1)
    if sizes:
        prices = _best_filling(sizes, _duals(sizes, counts)) * DEVICE_MILLI
    prices[DEVICE_MILLI] = float(DEVICE_MILLI)
    return prices


def _duals(sizes: list[int], counts: list[float]) -> Floats:
    from scipy.optimize import linprog

    demand = np.array(counts, np.float64)
    demand /= demand.sum()
    patterns = _first_patterns(sizes)
    duals = np.zeros(len(sizes))
    for _ in range(_ROUNDS_LIMIT):
        columns = np.array(patterns, np.float64).T
        solved = linprog(np.ones(columns.shape[1]), A_ub=-columns, b_ub=-demand, method="highs")
        duals = np.maximum(-solved.ineqlin.marginals, 0.0)
        filling = _best_filling(sizes, duals)
        if filling[DEVICE_MILLI] <= 1.0 + _ENOUGH:
            break
        pattern = _pattern_of(sizes, duals, filling)
        if pattern in patterns:
            break
        patterns.append(pattern)
    return duals / max(1.0, float(_best_filling(sizes, duals)[DEVICE_MILLI]))


def _first_patterns(sizes: list[int]) -> list[tuple[int, ...]]:
    """Each size alone, and each pair of sizes in every proportion, filled up with the largest that fit."""
    patterns: dict[tuple[int, ...], None] = {}
    for first in range(len(sizes)):
        for many in range(1, DEVICE_MILLI // sizes[first] + 1):
            for second in range(len(sizes)):
                left = DEVICE_MILLI - many * sizes[first]
                pattern = [0] * len(sizes)
                pattern[first] = many
                for size in (second, *range(len(sizes) - 1, -1, -1)):
                    pattern[size] += left // sizes[size]
                    left %= sizes[size]
                patterns[tuple(pattern)] = None
        if len(patterns) > 4000:
            break
    for number, size in enumerate(sizes):
        patterns[tuple(DEVICE_MILLI // size if other == number else 0 for other in range(len(sizes)))] = None
    return list(patterns)


def _best_filling(sizes: list[int], worth: Floats) -> Floats:
    """The most that shares in a hole of each size can be worth together."""
    best = np.zeros(DEVICE_MILLI + 1)
    numbers = np.array(sizes, np.int64)
    fitting = 0
    for hole in range(sizes[0], DEVICE_MILLI + 1):
        while fitting < len(sizes) and sizes[fitting] <= hole:
            fitting += 1
        best[hole] = max(best[hole - 1], float((best[hole - numbers[:fitting]] + worth[:fitting]).max()))
    return best


def _pattern_of(sizes: list[int], worth: Floats, filling: Floats) -> tuple[int, ...]:
    """The shares that make a whole device worth what `filling` says."""
    pattern = [0] * len(sizes)
    hole = DEVICE_MILLI
    while hole > 0:
        for number, size in enumerate(sizes):
            if size <= hole and filling[hole - size] + worth[number] >= filling[hole] - 1e-12 and worth[number] > 0:
                pattern[number] += 1
                hole -= size
                break
        else:
            hole -= 1
    return tuple(pattern)
