"""What queues are charged for once some of those that run are gone.

Guarantees: equal to releasing them one by one from the charges as they are; asking for nearly the same ones again costs the difference.
"""

from __future__ import annotations

import numpy as np

from bushel.scheduling.fleet import Integers, Mask
from bushel.scheduling.kernels.mode import twin
from bushel.scheduling.kernels.serve import charge
from bushel.scheduling.kernels.tables import Queues
from bushel.scheduling.victims import Victims

_FEW = 16


class Released:
    def __init__(self, charges: Queues, victims: Victims) -> None:
        self._charges, self._victims = charges, victims
        self._gone: Mask = np.zeros(len(victims), np.bool_)
        self._after = _copy(charges)

    def of(self, gone: Mask) -> Queues:
        """To be read before the next question."""
        victims = self._victims
        changed = np.flatnonzero(gone != self._gone)
        if len(changed) <= _FEW:
            for number in changed.tolist():
                sign = -1 if gone[number] else 1
                twin(charge)(self._after, int(victims.queues[number]), np.ascontiguousarray(victims.amounts[:, number]), sign)
        else:
            self._after = _copy(self._charges)
            release(self._after, victims.queues[gone], victims.amounts[:, gone])
        self._gone = gone.copy()
        return self._after


def release(charges: Queues, queues: Integers, amounts: Integers) -> None:
    """Of each of these queues what is given, side by side."""
    sums = np.zeros((len(charges.own), len(amounts)), np.int64)
    for column, of_column in enumerate(amounts):
        np.add.at(sums[:, column], queues, of_column)
    for queue in np.flatnonzero(np.bincount(queues, minlength=1)).tolist():
        twin(charge)(charges, queue, sums[queue], -1)


def _copy(charges: Queues) -> Queues:
    return charges._replace(below=charges.below.copy(), own=charges.own.copy())
