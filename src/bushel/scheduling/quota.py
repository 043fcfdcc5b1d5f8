"""What queues may hold: one rule for guarantees, limits, lending and borrowing.

A queue is charged for what it uses or for what it withholds from others, whichever is more; with the charges of the queues
below it that never passes its ceiling. What it withholds is the part of its guarantee that it does not lend; its ceiling is its
limit, or its guarantee and what it may borrow.

Guarantees: a plan never takes a queue, or any queue above it, past its ceiling, nor the fleet past what all withhold; a queue that
is already past its ceiling (it was lowered) starts nothing that would add to it, and nothing is taken from it here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from bushel.domain.resources import GPU_PREFIX
from bushel.scheduling.entities import LiveAttempt, Queue, Run
from bushel.scheduling.fleet import Integers
from bushel.scheduling.kernels.serve import allows, charge
from bushel.scheduling.kernels.tables import UNBOUNDED, Queues

GPU_OF_ANY_MODEL = "gpu"
MULTIPLIER_ONE = 1024


@dataclass(frozen=True, slots=True)
class OverQuota:
    """Which limit is in the way: an element needs `needed`, `limit - used` is left."""

    queue_id: int
    resource: str
    limit: int
    used: int
    needed: int


def charge_of(runs: Iterable[Run]) -> dict[str, int]:
    """What an attempt with this placement counts against its queue."""
    charge: dict[str, int] = {}
    for run in runs:
        add_charge(charge, run.amounts, run.stop - run.first)
    return charge


def add_charge(charge: dict[str, int], amounts: Mapping[str, int], tasks: int) -> None:
    for name, amount in amounts.items():
        charge[name] = charge.get(name, 0) + amount * tasks
        if name.startswith(GPU_PREFIX):
            charge[GPU_OF_ANY_MODEL] = charge.get(GPU_OF_ANY_MODEL, 0) + amount * tasks


class QueueTree:
    """Queues, and what each holds by itself (`used`, without the queues below it)."""

    def __init__(self) -> None:
        self.queues: dict[int, Queue] = {}
        self.used: dict[int, dict[str, int]] = {}
        self.running: dict[tuple[str, ...], dict[int, list[int]]] = {}  # by what they need, then by queue: attempts, amounts of each
        self.attempts: dict[int, dict[tuple[int, int], LiveAttempt]] = {}
        self.priorities: Counter[int] = Counter()  # of what runs
        self.stopping = 0
        self.frame: Frame | None = None  # of the last ledger, until a queue is otherwise

    def put(self, queue: Queue) -> None:
        before = self.queues.get(queue.id)
        if before is None or replace(before, history=queue.history) != queue:
            self.frame = None
        self.queues[queue.id] = queue

    def remove(self, queue_id: int) -> None:
        self.frame = None
        self.queues.pop(queue_id, None)

    def path(self, queue_id: int) -> list[Queue]:
        """The queue and those above it, nearest first."""
        found: list[Queue] = []
        queue = self.queues.get(queue_id)
        while queue is not None and len(found) <= len(self.queues):
            found.append(queue)
            queue = self.queues.get(queue.parent_id) if queue.parent_id is not None else None
        return found

    def charge(self, attempt: LiveAttempt, sign: int) -> None:
        used = self.used.setdefault(attempt.queue_id, {})
        held = charge_of(attempt.runs)
        of_queue = self.attempts.setdefault(attempt.queue_id, {})
        if sign > 0:
            of_queue[attempt.job_id, attempt.index] = attempt
        else:
            of_queue.pop((attempt.job_id, attempt.index), None)
        self.stopping += sign * attempt.stopping
        self.priorities[attempt.priority] += sign
        if not self.priorities[attempt.priority]:
            del self.priorities[attempt.priority]
        names = tuple(sorted(held))
        of_kind = self.running.setdefault(names, {})
        sums = of_kind.setdefault(attempt.queue_id, [0] * (1 + len(names)))
        sums[0] += sign
        for place, name in enumerate(names, start=1):
            sums[place] += sign * held[name]
        if not sums[0]:
            del of_kind[attempt.queue_id]
        for name, amount in held.items():
            left = used.get(name, 0) + sign * amount
            if left:
                used[name] = left
            else:
                used.pop(name, None)
        if not used:
            del self.used[attempt.queue_id]

    def contents(self) -> tuple[dict[int, Queue], dict[int, dict[str, int]]]:
        return dict(self.queues), {queue_id: dict(used) for queue_id, used in self.used.items()}


class Frame:
    """What of a ledger follows from the queues alone, whatever runs and waits."""

    def __init__(self, tree: QueueTree, ids: set[int], columns: dict[str, int]) -> None:
        self.known, self.columns = ids, columns
        self.ids = sorted(ids, key=lambda queue_id: (tree.queues[queue_id].name if queue_id in tree.queues else "", queue_id))
        self.number = {queue_id: number for number, queue_id in enumerate(self.ids)}
        self.queue_ids = np.array(self.ids, np.int64)
        paths = [[self.number[queue.id] for queue in tree.path(queue_id)] or [number] for number, queue_id in enumerate(self.ids)]
        fleet, width = len(self.ids), len(columns)
        self.path = np.full((fleet + 1, 2 + max(map(len, paths), default=0)), -1, np.int32)
        self.ceiling = np.full((fleet + 1, width), UNBOUNDED, np.int64)
        self.withheld = np.zeros((fleet + 1, width), np.int64)
        for number, path in enumerate(paths):
            self.path[number, : len(path)] = path
            self.path[number, len(path)] = fleet
            queue = tree.queues.get(self.ids[number])
            if queue is not None and (queue.quota or queue.guarantee or queue.borrowing is not None):
                self._limits(queue, self.ceiling[number], self.withheld[number])
        limits = [of for q in tree.queues.values() for of in (q.quota, q.guarantee, q.lending, q.borrowing)]
        self.names_any_model = any(GPU_OF_ANY_MODEL in (of or {}) for of in limits)
        depth = np.array([len(path) for path in paths], np.int64)
        levels = [np.flatnonzero(depth == level) for level in range(int(depth.max(initial=0)), 0, -1)]
        self.levels = [(rows, self.path[rows, 1].astype(np.int64)) for rows in levels]  # deepest first, each with the queue above

    def _limits(self, queue: Queue, ceiling: Integers, withheld: Integers) -> None:
        borrowing = queue.borrowing or {}
        for name in {*queue.quota, *queue.guarantee, *borrowing}:
            column = self.columns.get(name)
            if column is None:
                continue
            guarantee = queue.guarantee.get(name, 0)
            most = queue.quota.get(name, UNBOUNDED)
            if name in borrowing:
                most = min(most, guarantee + borrowing[name])
            ceiling[column] = most
            lent = guarantee if queue.lending is None else queue.lending.get(name, guarantee)
            withheld[column] = min(most, max(0, guarantee - lent))


class Ledger:
    """What queues hold while a plan is made: starts from the tree and grows with each start. Queues are numbered by name."""

    def __init__(self, tree: QueueTree, queue_ids: Iterable[int], resources: Mapping[str, int], capacity: Integers) -> None:
        """`resources` are numbered 0, 1, …; `capacity` is what the fleet has of each, what is held on nodes that are gone included."""
        self._tree = tree
        self.columns = {**resources, GPU_OF_ANY_MODEL: len(resources)}
        ids = {*tree.queues, *queue_ids, *tree.used}
        frame = tree.frame
        if frame is None or frame.known != ids or frame.columns != self.columns:
            frame = tree.frame = Frame(tree, ids, self.columns)
        self.ids, self.number, self.queue_ids = frame.ids, frame.number, frame.queue_ids
        self.names_any_model = frame.names_any_model
        self.used = self._used(tree.used, frame)
        """What each queue by itself holds as the plan begins."""
        self.table = self._table(frame, capacity)

    def _used(self, used: Mapping[int, Mapping[str, int]], frame: Frame) -> Integers:
        """By number of the queue and column; the last row is that of the fleet."""
        own = np.zeros((len(frame.ids) + 1, len(self.columns)), np.int64)
        rows = np.repeat([frame.number[queue_id] for queue_id in used], [len(held) for held in used.values()]).astype(np.int64)
        places = np.array([self.columns.get(name, -1) for held in used.values() for name in held], np.int64)
        amounts = np.array([amount for held in used.values() for amount in held.values()], np.int64)
        known = places >= 0
        own[rows[known], places[known]] = amounts[known]
        return own

    def _table(self, frame: Frame, capacity: Integers) -> Queues:
        fleet, ceiling, own = len(frame.ids), frame.ceiling, self.used.copy()
        if frame.withheld.any():
            ceiling = ceiling.copy()
            ceiling[fleet, : len(capacity)] = capacity
        below = own.copy()
        for rows, above in frame.levels:  # own use and the charges of the queues below
            np.add.at(below, above, np.maximum(frame.withheld[rows], below[rows]))
        entitled = np.zeros(own.shape, np.int64)
        multiplier = np.full(fleet + 1, MULTIPLIER_ONE, np.int64)
        first, left = np.zeros(fleet + 1, np.int64), np.zeros(fleet + 1, np.int64)
        return Queues(frame.path, ceiling, frame.withheld, below, own, entitled, multiplier, np.arange(fleet + 1), first, left)

    def needs(self, charge: Mapping[str, int]) -> Integers:
        row = np.zeros(len(self.columns), np.int64)
        for name, amount in charge.items():
            row[self.columns[name]] = amount
        return row

    def path(self, queue_id: int) -> list[Queue]:
        return self._tree.path(queue_id)

    def allows(self, queue_id: int, charge: Mapping[str, int]) -> bool:
        """Whether one more element of `charge` may start."""
        return bool(allows(self.table, self.number[queue_id], self.needs(charge), 1))

    def in_the_way(self, queue_id: int, charge: Mapping[str, int]) -> OverQuota | None:
        """The nearest limit that one more element would pass."""
        needs = self.needs(charge)
        names = sorted(self.columns, key=lambda name: name)
        more = needs.copy()
        for above in self.table.path[self.number[queue_id]].tolist():
            if above < 0:
                return None
            for name in names:
                column = self.columns[name]
                held, limit = int(self.table.below[above, column]), int(self.table.ceiling[above, column])
                if more[column] > 0 and held + more[column] > limit:
                    of = self.ids[above] if above < len(self.ids) else queue_id
                    return OverQuota(of, name, limit, held, int(more[column]))
            withheld, below = self.table.withheld[above], self.table.below[above]
            more = np.maximum(withheld, below + more) - np.maximum(withheld, below)
        return None

    def copy(self) -> Ledger:
        """For asking "what if"; it shares what does not change."""
        twin = object.__new__(Ledger)
        twin.__dict__.update(self.__dict__)
        twin.table = self.table._replace(below=self.table.below.copy(), own=self.table.own.copy())
        return twin

    def take(self, queue_id: int, amounts: Mapping[str, int], elements: int) -> None:
        charge(self.table, self.number[queue_id], self.needs(amounts), elements)
