"""Shape classes by number, so that columns can name them.

Guarantees: equal shapes have one number; a number keeps its meaning for as long as this object lives; numbers depend on history
and decide nothing.
"""

from __future__ import annotations

from bushel.scheduling.entities import ShapeClass


class ShapeNumbers:
    def __init__(self) -> None:
        self.shapes: list[ShapeClass] = []
        self._numbers: dict[ShapeClass, int] = {}
        self._by_identity: dict[int, int] = {}  # a shape is long to hash; those in `_seen` live as long as this
        self._seen: list[ShapeClass] = []

    def __len__(self) -> int:
        return len(self.shapes)

    def number(self, shape: ShapeClass) -> int:
        number = self._by_identity.get(id(shape))
        if number is None:
            number = self._numbers.get(shape)
            if number is None:
                number = self._numbers[shape] = len(self.shapes)
                self.shapes.append(shape)
            if len(self._seen) > 4 * len(self.shapes) + 1000:
                self._seen.clear()
                self._by_identity.clear()
            self._seen.append(shape)
            self._by_identity[id(shape)] = number
        return number
