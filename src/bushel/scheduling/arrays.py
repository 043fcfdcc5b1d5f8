"""The elements of a line, one after the other: a job at a time, of an array the lowest pending indices first.

Guarantees: never more elements of a job than its array limit leaves; the cost follows the elements that are taken, not the
length of the array or of the line.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from bushel.scheduling.lines import Line, Lines, job_of_key

_NOWHERE: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Element:
    """`excluded` are the nodes on which this element failed through the node."""

    job_id: int
    index: int
    key: int
    submitted_micros: int
    excluded: frozenset[int] = _NOWHERE


class Cursor:
    """Where a plan stands in a line."""

    def __init__(self, lines: Lines, line: Line) -> None:
        self.line = line
        self._lines = lines
        self._next_job = 0
        self._current: Iterator[Element] = iter(())
        self._ahead: deque[Element] = deque()
        self.taken = 0
        self.burst = 1  # most elements to look at in the next turn

    @property
    def head(self) -> Element | None:
        """The next element, or None at the end of the line."""
        if not self._ahead and not self._draw():
            return None
        return self._ahead[0]

    def upcoming(self, most: int, *, before_key: int | None) -> list[Element]:
        """Up to `most` next elements that go before `before_key`; of those with exclusions one at a time."""
        while len(self._ahead) < most and self._draw():
            pass
        found: list[Element] = []
        for element in itertools.islice(self._ahead, most):
            if before_key is not None and element.key >= before_key:
                break
            if element.excluded:
                return found or [element]
            found.append(element)
        return found

    def advance(self, count: int) -> None:
        """These elements are dealt with."""
        self.taken += count
        for _ in range(count):
            self._ahead.popleft()

    def remaining(self) -> tuple[int, int]:
        """Jobs and elements not dealt with."""
        if self.head is None:
            return 0, 0
        return len(self.line) - self._next_job + len({e.job_id for e in self._ahead}), int(self.line.startable.sum()) - self.taken

    def _draw(self) -> bool:
        element = next(self._current, None)
        while element is None:
            if self._next_job == len(self.line):
                return False
            self._current = self._elements_of(self._next_job)
            self._next_job += 1
            element = next(self._current, None)
        self._ahead.append(element)
        return True

    def _elements_of(self, at: int) -> Iterator[Element]:
        key, startable = int(self.line.keys[at]), int(self.line.startable[at])
        submitted = int(self.line.submitted[at])
        job_id = job_of_key(key)
        details = self._lines.details.get(job_id)
        if details is None:
            return iter((Element(job_id, 0, key, submitted),))
        pending, exclusions = details
        return (
            Element(job_id, index, key, submitted, frozenset(exclusions.get(index, ()))) for index in itertools.islice(pending, startable)
        )
