"""The lines of each queue side by side, with the key of the first job of each: what a plan walks over to find who is next.

Guarantees: every line has one entry, among those of its queue; a new line costs nothing as long as its queue has room, and else one pass.
Where an entry lies depends on history and decides nothing.
"""

from __future__ import annotations

from copy import copy

import numpy as np

from bushel.scheduling.fleet import Integers
from bushel.scheduling.kernels.tables import GONE


class Entries:
    """Queues are numbered from 0, in the order in which they were first heard of."""

    def __init__(self) -> None:
        self.line = np.full(16, -1, np.int32)
        self.klass = np.zeros(16, np.int32)
        self.key: Integers = np.full(16, GONE, np.int64)
        self.first: Integers = np.zeros(0, np.int64)  # by queue: its entries are first … first + used - 1
        self.used: Integers = np.zeros(0, np.int64)
        self._room: Integers = np.zeros(0, np.int64)
        self._place: Integers = np.zeros(16, np.int64)  # of each line

    def copy(self) -> Entries:
        twin = copy(self)
        twin.__dict__.update({name: values.copy() for name, values in self.__dict__.items()})
        return twin

    def add(self, line: int, queue: int, klass: int) -> None:
        """Lines come in the order of their numbers."""
        if queue >= len(self.used):
            more = np.zeros(max(16, len(self.used)), np.int64)
            self.first, self.used, self._room = (np.concatenate([values, more]) for values in (self.first, self.used, self._room))
        if self.used[queue] == self._room[queue]:
            self._spread(queue)
        if line >= len(self._place):
            self._place = np.concatenate([self._place, np.zeros(len(self._place), np.int64)])
        place = int(self.first[queue] + self.used[queue])
        self.used[queue] += 1
        self.line[place], self.klass[place], self.key[place], self._place[line] = line, klass, GONE, place

    def put_key(self, line: int, key: int) -> None:
        """The first job of the line has this key, or it is empty."""
        self.key[self._place[line]] = key

    def put_keys(self, keys: Integers) -> None:
        """Of all lines."""
        self.key[self._place[: len(keys)]] = keys

    def _spread(self, queue: int) -> None:
        """Room for more of every queue, most for this one."""
        room = self.used + self.used // 4
        room[queue] = 2 * self.used[queue] + 4
        first = np.cumsum(room) - room
        held = np.repeat(np.arange(len(self.used)), self.used)
        offsets = np.arange(len(held)) - np.repeat(np.cumsum(self.used) - self.used, self.used)
        before, after = self.first[held] + offsets, first[held] + offsets
        size = int(room.sum())
        line, klass, key = np.full(size, -1, np.int32), np.zeros(size, np.int32), np.full(size, GONE, np.int64)
        line[after], klass[after], key[after] = self.line[before], self.klass[before], self.key[before]
        self._place[line[after]] = after
        self.line, self.klass, self.key, self.first, self._room = line, klass, key, first, room
