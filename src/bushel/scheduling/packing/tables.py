"""What packing has learnt, laid out for the decision kernels: plain arrays, one tuple for each preset.

Guarantees: a lookup costs the same whatever was learnt, because the classes of the demand are folded into cumulative tables by level
of free CPU, level of free memory, and size. The loss function of the normal distribution is a table with straight lines
between its points (error below 1e-6 of a standard deviation), so every machine and every compiler gets the same bits.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

DEVICE_MILLI = 1000
"""One whole accelerator."""

LOSS_REACH = 6
"""Beyond so many standard deviations the loss is nothing, or all of the difference."""

LOSS_STEPS = 256
"""Points of the loss table for each standard deviation."""

Floats = npt.NDArray[np.float64]


class Tables(NamedTuple):
    """`usable[model, cpu level, memory level]` holds, first, for each size of the demand for one device the weight of all classes up to
    it; then from `several_at` on, for each number of idle devices the weight of the classes of several devices that fit in them."""

    hole: Floats  # price of a hole of 0 … 1000 thousandths
    size_index: npt.NDArray[np.int64]  # how many sizes of the demand are no larger than this hole
    cpu_levels: npt.NDArray[np.int64]  # model × level, rising; the largest number where there are no more
    memory_levels: npt.NDArray[np.int64]
    usable: Floats  # model × (cpu level, memory level: flat) × slot
    memory_stride: int
    several_at: int
    cpu_mean: float  # CPU asked for with one device, its spread, and what one unit short of it strands, in thousandths
    cpu_spread: float
    cpu_price: float
    memory_mean: float
    memory_spread: float
    memory_price: float
    loss: Floats
    quantum: float
    slope: float


@cache
def normal_loss() -> Floats:
    """E[(Z - z)+] of a standard normal Z, from -LOSS_REACH to LOSS_REACH."""
    points = np.arange(2 * LOSS_REACH * LOSS_STEPS + 2) / LOSS_STEPS - LOSS_REACH
    return np.array([math.exp(-z * z / 2) / math.sqrt(2 * math.pi) - z * math.erfc(z / math.sqrt(2)) / 2 for z in points])


def same(one: Tables, other: Tables) -> bool:
    """Whether two were learnt equal, bit for bit."""
    pairs: list[tuple[Any, Any]] = list(zip(one, other, strict=True))
    return all(np.array_equal(a, b) for a, b in pairs)
