"""Which indices of an array start: the lowest pending ones, in order.

Guarantees: the cost follows the elements that are asked for, not the length of the array.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from bushel.scheduling.fleet import Integers
from bushel.scheduling.lines import Lines


class PendingIndices:
    """The pending indices of each job, by ordinal."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._known: dict[int, tuple[Iterator[int], list[int]]] = {}

    def index(self, job_id: int, ordinal: int) -> int:
        details = self._lines.details.get(job_id)
        if details is None:
            return 0
        rest, known = self._known.setdefault(job_id, (iter(details[0]), []))
        known.extend(itertools.islice(rest, max(0, ordinal + 1 - len(known))))
        return known[ordinal]

    def excluded(self, job_id: int, index: int) -> frozenset[int]:
        """Nodes on which this very element failed through the node."""
        details = self._lines.details.get(job_id)
        return frozenset(details[1].get(index, ())) if details is not None else frozenset()

    def indices(self, job_ids: Integers, ordinals: Integers) -> Integers:
        found = np.zeros(len(job_ids), np.int64)
        if self._lines.details:
            details = self._lines.details
            for at, (job_id, ordinal) in enumerate(zip(job_ids.tolist(), ordinals.tolist(), strict=True)):
                if job_id in details:
                    found[at] = self.index(job_id, ordinal)
        return found
