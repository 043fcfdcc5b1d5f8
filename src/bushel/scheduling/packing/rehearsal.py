"""Uses every kernel of packing once, with the types that serve later, so that each is compiled or loaded from the disk.

Guarantees: changes nothing but what is compiled.
"""

from __future__ import annotations

import numpy as np

from bushel.scheduling.kernels.mode import twin, using
from bushel.scheduling.packing.learning import Demand, learn
from bushel.scheduling.packing.rows import best, forget, make_rows, make_state, occupy, revalue, touch, vacate


def rehearse() -> None:
    demands = (Demand(1000, 1 << 30, 0, 500), Demand(2000, 1 << 31, 1, 0))
    tables = learn(demands, 1, 2).steady
    state = make_state(
        np.array([4000, 8000]), np.array([1 << 33, 1 << 33]), np.array([[1000, 1000], [0, 0]]), np.array([2, 0]), np.array([0, 0])
    )
    rows = make_rows(np.array([(d.cpu, d.memory, d.whole, d.share, 0) for d in demands]), state)
    with using(compiled=True):
        twin(revalue)(tables, state, rows)
        for number in range(len(demands)):
            row = twin(best)(tables, state, rows, number)
            taken = twin(occupy)(tables, state, rows, number, row)
            twin(vacate)(tables, state, rows, number, row, taken)
        twin(touch)(tables, state, rows, 0)
        twin(forget)(rows, 0)
