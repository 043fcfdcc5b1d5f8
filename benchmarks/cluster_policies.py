"""The policies that `philly` compares, each as good as its authors describe it.

FIFO, dominant resource fairness (Ghodsi 2011) and EASY backfill (Lifka 1995) start and never stop; EASY is told the true durations.
Least attained service is Tiresias' (Gu 2019): levels of attained accelerator-seconds, first come first served in a level, preemptive.
Shortest first and shortest remaining first are told the true durations too: bounds, no one's policy.
Ours is the order of `bushel.scheduling.service_order` over the forecasts of `bushel.scheduling.durations`, which know only what ended.
"""

from __future__ import annotations

import numpy as np

from benchmarks.gang_placement import start_by_share, start_in_order, start_with_backfill
from benchmarks.shared_cluster import PER_SERVER, RUNNING, Cluster, SchedulingPolicy, Trace
from bushel.scheduling.durations import Durations, Kind, remaining_seconds
from bushel.scheduling.service_order import ServiceOrder, scores

PERIOD_SECONDS = 300.0
GPU_HOUR = 3600.0


class Fifo(SchedulingPolicy):
    name = "FIFO"
    strict = True

    def decide(self, cluster: Cluster) -> None:
        started = np.zeros(len(cluster.state), np.bool_)
        order = self.order(cluster)
        start_in_order(order, self.trace.gpus, cluster.free, cluster.servers, cluster.counts, PER_SERVER, self.strict, started)
        cluster.begin(started)

    def order(self, cluster: Cluster) -> np.ndarray:
        return cluster.waiting()


class FifoFirstFit(Fifo):
    name = "FIFO, first fit"
    strict = False


class ShortestFirst(Fifo):
    name = "shortest first"
    strict = False

    def order(self, cluster: Cluster) -> np.ndarray:
        waiting = cluster.waiting()
        return waiting[np.argsort(self.trace.seconds[waiting], kind="stable")]


class DominantShare(SchedulingPolicy):
    name = "DRF"

    def decide(self, cluster: Cluster) -> None:
        started = np.zeros(len(cluster.state), np.bool_)
        running = cluster.active[cluster.state[cluster.active] == RUNNING]
        used = np.bincount(self.trace.tenant[running], self.trace.gpus[running], len(self.trace.tenants))
        start_by_share(
            *(cluster.waiting(), self.trace.tenant, self.trace.gpus, used, cluster.free, cluster.servers, cluster.counts, PER_SERVER),
            started,
        )
        cluster.begin(started)


class Easy(SchedulingPolicy):
    name = "EASY"

    def decide(self, cluster: Cluster) -> None:
        started = np.zeros(len(cluster.state), np.bool_)
        running = cluster.active[cluster.state[cluster.active] == RUNNING]
        ends = np.full(len(cluster.state), np.inf)
        ends[running] = cluster.now + cluster.left[running]
        start_with_backfill(
            *(cluster.waiting(), running, ends, cluster.now, self.trace.seconds, self.trace.gpus),
            *(cluster.free, cluster.servers, cluster.counts, PER_SERVER, started),
        )
        cluster.begin(started)


class LeastAttainedService(SchedulingPolicy):
    name = "LAS"
    period_seconds = PERIOD_SECONDS

    def __init__(self, trace: Trace, thresholds_gpu_hours: tuple[float, ...] = (1, 4, 16, 64, 256, 1024), name: str = "LAS") -> None:
        super().__init__(trace)
        self.name = name
        self.thresholds = np.array(thresholds_gpu_hours) * GPU_HOUR

    def decide(self, cluster: Cluster) -> None:
        rows = cluster.active
        level = np.searchsorted(self.thresholds, cluster.served[rows] * self.trace.gpus[rows], side="right")
        cluster.rearrange(rows[np.lexsort((rows, level))])


class ShortestRemainingFirst(SchedulingPolicy):
    name = "shortest remaining first"

    def decide(self, cluster: Cluster) -> None:
        rows = cluster.active
        cluster.rearrange(rows[np.lexsort((rows, cluster.left[rows]))])


class Bushel(SchedulingPolicy):
    name = "Bushel"
    period_seconds = PERIOD_SECONDS

    def __init__(self, trace: Trace, order: ServiceOrder | None = None, name: str = "Bushel") -> None:
        super().__init__(trace)
        self.name, self.rule = name, order or ServiceOrder()
        self.durations = Durations()
        self.location, self.scale = np.zeros(len(trace.arrival)), np.ones(len(trace.arrival))
        self.recent = np.zeros(len(trace.tenants))
        self.stale = False

    def arrived(self, job: int) -> None:
        self.durations.submitted(job, Kind(int(self.trace.tenant[job]), name=self.trace.names[job], size=int(self.trace.gpus[job])))
        (self.location[job],), (self.scale[job],) = self.durations.forecasts([job])

    def ended(self, job: int) -> None:
        self.durations.ended(job, float(self.trace.seconds[job]))
        self.stale = True

    def passed(self, cluster: Cluster, seconds: float) -> None:
        self.recent = self.recent * 0.5 ** (seconds / self.rule.half_life_seconds) + cluster.used * seconds

    def decide(self, cluster: Cluster) -> None:
        rows = cluster.active
        if self.stale:
            self.location[rows], self.scale[rows] = self.durations.forecasts(rows.tolist())
            self.stale = False
        cluster.count()
        remaining = remaining_seconds(self.location[rows], self.scale[rows], cluster.served[rows])
        tenant, gpus = self.trace.tenant[rows], self.trace.gpus[rows]
        score, core = scores(remaining, tenant, gpus, cluster.running[rows], self.recent, cluster.entitled, self.rule)
        cluster.rearrange(rows[np.lexsort((rows, score, ~core))])
