"""The arrays that fair shares are computed in, and the scale of their numbers.

Guarantees: an amount is a whole number of *units*; a unit is one, or a power of two when the capacity of a resource needs more
than 34 bits (one part in 17,000 million of the fleet). Within a computation a unit is cut into 2**fraction_bits *grains*, so that
the capacity of each resource is about 2**52 grains and every amount is a 64-bit integer that a double holds exactly.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

UNIT_BITS = 34
GRAIN_BITS = 52
UNBOUNDED = 1 << 62
"""Stands for a limit that is not set."""

LARGEST_CLAIM = 1 << 48
"""In units. A backlog or a promise beyond it, thousands of times the largest fleet, counts as this much."""


def unit_shift(capacity: int) -> int:
    """A unit of the resource is this power of two."""
    return max(0, capacity.bit_length() - UNIT_BITS)


def fraction_bits(capacity_units: int) -> int:
    return GRAIN_BITS - capacity_units.bit_length()
