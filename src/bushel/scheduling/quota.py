"""Hard limits of queues: what the live attempts of a queue, and of all queues below it, may hold.

Guarantees: a plan never takes a queue, or any queue above it, past its limit; a queue that is already past it (its limit was
lowered) starts nothing that would add to what is over, and nothing is taken from it here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bushel.domain.resources import GPU_PREFIX
from bushel.scheduling.entities import LiveAttempt, Queue, Run

GPU_OF_ANY_MODEL = "gpu"


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

    def put(self, queue: Queue) -> None:
        self.queues[queue.id] = queue

    def remove(self, queue_id: int) -> None:
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
        for name, amount in charge_of(attempt.runs).items():
            left = used.get(name, 0) + sign * amount
            if left:
                used[name] = left
            else:
                used.pop(name, None)
        if not used:
            del self.used[attempt.queue_id]

    def contents(self) -> tuple[dict[int, Queue], dict[int, dict[str, int]]]:
        return dict(self.queues), {queue_id: dict(used) for queue_id, used in self.used.items()}


class Ledger:
    """What queues hold while a plan is made: starts from the tree and grows with each start."""

    def __init__(self, tree: QueueTree) -> None:
        self._tree = tree
        self._paths: dict[int, list[Queue]] = {}
        self.own: dict[int, dict[str, int]] = {queue_id: dict(used) for queue_id, used in tree.used.items()}
        self.total: dict[int, dict[str, int]] = {}
        for queue_id, used in tree.used.items():
            self._add_up(queue_id, used, 1)

    def path(self, queue_id: int) -> list[Queue]:
        if queue_id not in self._paths:
            self._paths[queue_id] = self._tree.path(queue_id)
        return self._paths[queue_id]

    def allows(self, queue_id: int, charge: Mapping[str, int], most: int) -> int:
        """How many elements of `charge` may still start, at most `most`."""
        for queue in self.path(queue_id):
            used = self.total.get(queue.id, {})
            for name, limit in queue.quota.items():
                if needed := charge.get(name, 0):
                    most = min(most, max(0, limit - used.get(name, 0)) // needed)
        return most

    def in_the_way(self, queue_id: int, charge: Mapping[str, int]) -> OverQuota | None:
        """The nearest limit that one more element would pass."""
        for queue in self.path(queue_id):
            used = self.total.get(queue.id, {})
            for name in sorted(queue.quota):
                needed, limit, held = charge.get(name, 0), queue.quota[name], used.get(name, 0)
                if needed and held + needed > limit:
                    return OverQuota(queue.id, name, limit, held, needed)
        return None

    def take(self, queue_id: int, charge: Mapping[str, int], elements: int) -> None:
        own = self.own.setdefault(queue_id, {})
        for name, amount in charge.items():
            own[name] = own.get(name, 0) + amount * elements
        self._add_up(queue_id, charge, elements)

    def _add_up(self, queue_id: int, charge: Mapping[str, int], elements: int) -> None:
        for queue in self.path(queue_id):
            total = self.total.setdefault(queue.id, {})
            for name, amount in charge.items():
                total[name] = total.get(name, 0) + amount * elements
