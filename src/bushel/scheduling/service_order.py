"""Who is served first when everything that runs and everything that waits is compared: the shortest remaining work, the least served first.

Guarantees: pure arrays in and out; equal rows get equal scores whatever their order; a queue that got less than its part of late moves
forward and one that got more moves back, smoothly; what a queue holds up to `core_share` of its entitlement goes before everything else.
What runs keeps a lead, so two jobs of about the same length do not take turns.

Expected remaining time is shortest-remaining-first where durations are known (Schrage 1968) and follows attained service where they
spread widely, for the longer a job of unknown length has run, the longer it will run still. Multiplying it by the queue's recent service
is the score function of weighted fair queueing with memory; the core is what a share of the cluster of its own would give.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_LEAST_PART = 0.05
"""A queue that got nothing of late is taken to have had this much of the mean, or it would go before all for ever."""


@dataclass(frozen=True, slots=True)
class ServiceOrder:
    """`balance`: how strongly recent service counts, 0 not at all. `core_share`: the part of an entitlement that goes first, 0 to 1.
    `lead`: what runs is taken to be this much shorter. `half_life_seconds` is that of recent service."""

    balance: float = 1.0
    core_share: float = 0.0
    lead: float = 0.5
    half_life_seconds: float = 2 * 86400.0


def scores(
    remaining_seconds: Floats, queue: Integers, size: Integers, running: Mask, recent: Floats, entitled: Floats, order: ServiceOrder
) -> tuple[Floats, Mask]:
    """For each row its score, the smallest first, and whether it is core, which goes before all that is not.

    `queue` numbers the rows of `recent`, what queues used of late, and `entitled`, what they may hold now, in the unit of `size`.
    """
    score = remaining_seconds * np.where(running, order.lead, 1.0)
    if order.balance > 0 and len(recent) and recent.sum() > 0:
        relative = recent / recent.mean() + _LEAST_PART
        score = score * relative[queue] ** order.balance
    core = np.zeros(len(score), np.bool_)
    if order.core_share > 0:
        rank = np.lexsort((score, queue))
        held = np.cumsum(size[rank])
        first = np.searchsorted(queue[rank], np.arange(len(recent)))
        before = np.concatenate([[0], held])[first]
        core[rank] = held - before[queue[rank]] <= order.core_share * entitled[queue[rank]] + 1e-9
    return score, core
