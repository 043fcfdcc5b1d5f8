"""Sets of array indices as sorted, disjoint, half-open ranges.

Guarantees: a set has one form only, so equal sets compare equal; the cost of every operation follows the number of
ranges, never the number of indices.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_PERSON_RANGE = re.compile(r"(\d{1,10})(?:-(\d{1,10})(?::(\d{1,10}))?)?")


@dataclass(frozen=True, slots=True)
class IndexRanges:
    """`parts` are `(start, stop)` with `stop` left out, ascending, with a gap between neighbours."""

    parts: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, parts: Iterable[tuple[int, int]]) -> IndexRanges:
        """Any ranges, in any order, overlapping or empty."""
        merged: list[tuple[int, int]] = []
        for start, stop in sorted(part for part in parts if part[0] < part[1]):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
            else:
                merged.append((start, stop))
        return cls(tuple(merged))

    @classmethod
    def of_indices(cls, indices: Iterable[int]) -> IndexRanges:
        return cls.of((index, index + 1) for index in indices)

    @classmethod
    def parse(cls, text: str, *, most_parts: int = 10_000) -> IndexRanges:
        """What a person writes: `0-99`, `3,7,20-29`, `0-100:10` (every tenth).

        Raises:
            ValueError: the text has another form, counts backwards, or needs more than `most_parts` ranges.
        """
        parts: list[tuple[int, int]] = []
        for piece in text.split(","):
            match = _PERSON_RANGE.fullmatch(piece.strip())
            if match is None:
                raise ValueError(f"{piece.strip()[:60]!r} is not an index or a range such as 0-99 or 0-100:10")
            first = int(match[1])
            last = int(match[2] or match[1])
            step = int(match[3] or 1)
            if last < first:
                raise ValueError(f"{piece.strip()!r} counts backwards")
            if step < 1:
                raise ValueError(f"{piece.strip()!r} has a step of 0")
            if step == 1:
                parts.append((first, last + 1))
            else:
                if (last - first) // step + len(parts) >= most_parts:
                    raise ValueError(f"{piece.strip()!r} needs more than {most_parts} separate ranges")
                parts.extend((index, index + 1) for index in range(first, last + 1, step))
            if len(parts) > most_parts:
                raise ValueError(f"more than {most_parts} separate ranges")
        return cls.of(parts)

    @classmethod
    def from_postgres(cls, text: str) -> IndexRanges:
        """The text of an `int4multirange`, which PostgreSQL keeps in this very form."""
        if len(text) <= len("{}"):
            return cls()
        listed: list[list[int]] = json.loads(f"[{text[1:-1].replace(')', ']')}]")  # far quicker than taking it apart here
        return cls(tuple((start, stop) for start, stop in listed))

    def to_postgres(self) -> str:
        return "{" + ",".join(f"[{start},{stop})" for start, stop in self.parts) + "}"

    def __str__(self) -> str:
        return ",".join(str(start) if stop == start + 1 else f"{start}-{stop - 1}" for start, stop in self.parts)

    def __bool__(self) -> bool:
        return bool(self.parts)

    def __len__(self) -> int:
        return sum(stop - start for start, stop in self.parts)

    def __iter__(self) -> Iterator[int]:
        for start, stop in self.parts:
            yield from range(start, stop)

    def __contains__(self, index: int) -> bool:
        return any(start <= index < stop for start, stop in self.parts)

    def __or__(self, other: IndexRanges) -> IndexRanges:
        if not (self.parts and other.parts):
            return self if self.parts else other
        return IndexRanges.of((*self.parts, *other.parts))

    def __sub__(self, other: IndexRanges) -> IndexRanges:
        if not (self.parts and other.parts):
            return self
        left: list[tuple[int, int]] = []
        removed = iter(other.parts)
        hole = next(removed, None)
        for start, stop in self.parts:
            while hole is not None and hole[1] <= start:
                hole = next(removed, None)
            at = start
            while hole is not None and hole[0] < stop:
                if hole[0] > at:
                    left.append((at, hole[0]))
                at = max(at, hole[1])
                if hole[1] >= stop:
                    break
                hole = next(removed, None)
            if at < stop:
                left.append((at, stop))
        return IndexRanges(tuple(left))

    def __and__(self, other: IndexRanges) -> IndexRanges:
        return self - (self - other)

    def first(self, count: int) -> IndexRanges:
        """The `count` lowest indices, or all if there are fewer."""
        taken: list[tuple[int, int]] = []
        for start, stop in self.parts:
            if count <= 0:
                break
            taken.append((start, min(stop, start + count)))
            count -= stop - start
        return IndexRanges(tuple(taken))
