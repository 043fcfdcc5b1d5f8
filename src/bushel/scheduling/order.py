"""Who is next: the highest priority; at equal priority the queue that holds least for its weight; in a queue the oldest job.

Guarantees: a total order, so the same snapshot always gives the same turns. What a queue holds is its dominant share: the
largest part that its own live attempts take of any one resource of the usable fleet (Ghodsi et al., Dominant Resource
Fairness, NSDI 2011), divided by its weight. A queue keeps its turn until it is past the next one by 1/64 of the fleet, so
that thousands of starts need few turns and small fleets still alternate job by job.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from bushel.scheduling.arrays import Cursor, Element
from bushel.scheduling.fleet import Fleet
from bushel.scheduling.lines import Lines, next_priority, priority_of_key
from bushel.scheduling.quota import Ledger, QueueTree

TURN_PART = 1 / 64


class Turns:
    """Cursors of all lines, in the order in which they are served."""

    def __init__(self, lines: Lines, tree: QueueTree, ledger: Ledger, fleet: Fleet) -> None:
        self._ledger = ledger
        self._weight = {queue.id: queue.weight / 1000 for queue in tree.queues.values()}
        usable = fleet.usable
        self._total = {name: int(fleet.capacity[column][usable].sum()) for name, column in fleet.column_of.items()}
        self._of_queue: dict[int, list[tuple[int, Cursor]]] = {}
        for line in lines.lines.values():
            self._of_queue.setdefault(line.queue_id, []).append((int(line.keys[0]), Cursor(lines, line)))
        self._queues: list[tuple[int, float, int, int]] = []
        for queue_id, cursors in self._of_queue.items():
            heapq.heapify(cursors)
            self._push(queue_id)

    def next(self) -> Cursor | None:
        """The line whose turn it is; None when all are served. The caller gives it back with `again`, or lets it go."""
        if not self._queues:
            return None
        queue_id = heapq.heappop(self._queues)[3]
        return heapq.heappop(self._of_queue[queue_id])[1]

    def upcoming(self, cursor: Cursor, most: int, charge: Mapping[str, int]) -> list[Element]:
        """The elements of this turn. `charge` is what one of them counts against its queue."""
        queue_id = cursor.line.queue_id
        siblings = self._of_queue[queue_id]
        before_key = siblings[0][0] if siblings else None
        rival = self._queues[0] if self._queues else None
        head = cursor.head
        if rival is not None and head is not None:
            if rival[0] == -priority_of_key(head.key):
                weight = self._weight.get(queue_id, 1.0)
                step = self._part(charge) / weight
                ahead = rival[1] + TURN_PART / weight - self.share(queue_id)
                most = min(most, max(1, int(ahead / step) + 1) if step else most)
            lower = next_priority(head.key)
            before_key = lower if before_key is None else min(before_key, lower)
        return cursor.upcoming(most, before_key=before_key)

    def again(self, cursor: Cursor) -> None:
        """The line has more and may be served again."""
        head = cursor.head
        if head is not None:
            siblings = self._of_queue[cursor.line.queue_id]
            heapq.heappush(siblings, (head.key, cursor))
        self.pass_on(cursor.line.queue_id)

    def pass_on(self, queue_id: int) -> None:
        """The line is done for this plan; its queue's other lines are not."""
        if self._of_queue[queue_id]:
            self._push(queue_id)

    def rest(self) -> list[Cursor]:
        """The lines that had no turn or would have had another."""
        return [cursor for cursors in self._of_queue.values() for _, cursor in cursors]

    def share(self, queue_id: int) -> float:
        return self._part(self._ledger.own.get(queue_id, {})) / self._weight.get(queue_id, 1.0)

    def _part(self, amounts: Mapping[str, int]) -> float:
        return max((amount / total for name, amount in amounts.items() if (total := self._total.get(name, 0))), default=0.0)

    def _push(self, queue_id: int) -> None:
        key = self._of_queue[queue_id][0][0]
        heapq.heappush(self._queues, (-priority_of_key(key), self.share(queue_id), key, queue_id))
