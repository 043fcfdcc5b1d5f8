"""What goes wrong, and when: nodes that fail, spot nodes that are taken back, tasks that fail.

Guarantees: deterministic by seed, and independent of the policy: the moments of a node are drawn from a stream of its own, the fate of an
attempt from the numbers of its job, index and attempt. So two policies that are compared meet the same failures of the same nodes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bushel.scheduling.entities import Node

_NODE, _ATTEMPT, _SPOT = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Conditions:
    """Means of exponential times, None for never. `restart_seconds` is lost each time that an attempt goes on from a checkpoint,
    `start_seconds` passes between placement and running, `grace_seconds` between the notice and the end of what is evicted."""

    seed: int = 1
    node_failure_seconds: float | None = None
    node_repair_seconds: float = 4 * 3600.0
    spot_reclaim_seconds: float | None = None
    spot_return_seconds: float = 3600.0
    task_failure_seconds: float | None = None
    restart_seconds: float = 60.0
    start_seconds: float = 0.0
    grace_seconds: float = 0.0

    def outages(self, node: Node) -> Iterator[tuple[float, float]]:
        """Start and length of each time that the node is away."""
        spot = node.billing == "spot" and self.spot_reclaim_seconds is not None
        every = self.spot_reclaim_seconds if spot else self.node_failure_seconds
        if every is None:
            return
        away = self.spot_return_seconds if spot else self.node_repair_seconds
        draws = np.random.default_rng([self.seed, _SPOT if spot else _NODE, node.id])
        now = 0.0
        while True:
            now += float(draws.exponential(every))
            length = float(draws.exponential(away))
            yield now, length
            now += length

    def fails_after(self, job_id: int, index: int, attempt: int) -> float:
        """Seconds of running after which this attempt fails by itself, if it has not ended by then."""
        if self.task_failure_seconds is None:
            return math.inf
        return float(np.random.default_rng([self.seed, _ATTEMPT, job_id, index, attempt]).exponential(self.task_failure_seconds))
