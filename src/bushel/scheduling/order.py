"""Who is next: what each queue is entitled to, and how its past use stretches its rank.

Guarantees: a job's rank is the largest part that its queue, this job included, would hold of what it is entitled to of any one
resource that the job needs. Jobs within the entitlement go before all others; among these and among those the smaller rank goes
first, stretched by past use; equal ones go by the queue's name. In a queue the higher priority goes first, then the older job.
"""

from __future__ import annotations

import numpy as np

from bushel.scheduling.fleet import Integers
from bushel.scheduling.quota import Ledger, QueueTree


def entitle_by_weight(ledger: Ledger, tree: QueueTree, capacity: Integers, present: set[int]) -> None:
    """Every queue that has something, its part of the fleet by weight, level by level."""
    for number, queue_id in enumerate(ledger.ids):
        part = 1.0
        if queue_id in present:
            for queue in tree.path(queue_id):
                siblings = sum(other.weight for other in tree.queues.values() if other.parent_id == queue.parent_id and other.id in present)
                part *= queue.weight / siblings if siblings else 1.0
            ledger.table.entitled[number, : len(capacity)] = np.floor(capacity * part).astype(np.int64)
