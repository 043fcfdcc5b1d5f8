"""Tenants' gangs on one cluster of equal servers, event by event, under one policy or another.

The model, alike for all: a job runs for its given time on its whole gang. One that is stopped has a notice and checkpoints, so it loses no
progress, but starting it again costs its gang `RESTART_SECONDS`. Preemptive policies decide at arrivals, ends and, while anything
waits, every `period_seconds`.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.gang_placement import choose, max_min, release

PER_SERVER = 8
RESTART_SECONDS = 120.0
ABSENT, WAITING, RUNNING, ENDED = range(4)


@dataclass(frozen=True)
class Trace:
    """By arrival. `tenant` numbers `tenants`."""

    arrival: npt.NDArray[np.float64]
    tenant: npt.NDArray[np.int64]
    gpus: npt.NDArray[np.int64]
    seconds: npt.NDArray[np.float64]
    names: list[str]
    tenants: list[str]

    @classmethod
    def read(cls, files: list[Path], most: int | None = None) -> Trace:
        """One file a tenant: arrival_s, model, gpus, v100_s."""
        rows: list[tuple[float, int, int, float, str]] = []
        for number, file in enumerate(files):
            with file.open(newline="") as lines:
                rows += [
                    (float(row["arrival_s"]), number, int(row["gpus"]), max(1.0, float(row["v100_s"])), row["model"])
                    for row in csv.DictReader(lines)
                ]
        rows = sorted(rows)[:most]
        arrival, tenant, gpus, seconds, names = (list(column) for column in zip(*rows, strict=True))
        return cls(np.array(arrival), np.array(tenant), np.array(gpus), np.array(seconds), names, [file.stem for file in files])

    def servers_for(self, load: float) -> int:
        """How many servers are busy to `load` on average, were the work spread over the time of the arrivals."""
        rate = float(self.gpus @ self.seconds) / max(1.0, float(self.arrival[-1] - self.arrival[0]))
        return max(-(-int(self.gpus.max()) // PER_SERVER), round(rate / load / PER_SERVER))


class Cluster:
    """State while one policy is simulated. Rows of the arrays are jobs."""

    def __init__(self, trace: Trace, servers: int) -> None:
        count = len(trace.arrival)
        pieces = -(-int(trace.gpus.max()) // PER_SERVER) + 1
        self.trace, self.server_count = trace, servers
        self.now = float(trace.arrival[0])
        self.state = np.zeros(count, np.int8)
        self.left = trace.seconds.copy()
        self.served = np.zeros(count)
        self.overhead = np.zeros(count)
        self.end = np.zeros(count)
        self.first_start = np.full(count, np.nan)
        self.free = np.full(servers, PER_SERVER, np.int64)
        self.servers = np.full((count, pieces), -1, np.int64)
        self.counts = np.zeros((count, pieces), np.int64)
        self.active = np.zeros(0, np.int64)
        tenants = len(trace.tenants)
        self.held_seconds, self.entitled_seconds = np.zeros(tenants), np.zeros(tenants)
        self.share_seconds, self.asking_seconds = np.zeros(tenants), np.zeros(tenants)
        self.demand, self.used = np.zeros(tenants, np.int64), np.zeros(tenants, np.int64)
        self.entitled = np.zeros(tenants)
        self.preemptions = 0

    @property
    def running(self) -> npt.NDArray[np.bool_]:
        return self.state == RUNNING

    def waiting(self) -> npt.NDArray[np.int64]:
        """By arrival."""
        return self.active[self.state[self.active] == WAITING]

    def begin(self, started: npt.NDArray[np.bool_]) -> None:
        """Waiting jobs that a policy placed."""
        self.state[started] = RUNNING
        self.overhead[started] = np.where(np.isnan(self.first_start[started]), 0.0, RESTART_SECONDS)
        self.first_start[started] = np.fmin(self.first_start[started], self.now)

    def rearrange(self, order: npt.NDArray[np.int64]) -> None:
        """Let run who comes first in `order`, stopping others."""
        chosen = np.zeros(len(self.state), np.int8)
        servers, counts = np.full_like(self.servers, -1), np.zeros_like(self.counts)
        running = self.running
        choose(order, self.trace.gpus, running, self.server_count, self.servers, self.counts, PER_SERVER, servers, counts, chosen)
        stopped = order[running[order] & (chosen[order] == 0)]
        for job in stopped:
            release(job, self.free, self.servers, self.counts)
        self.state[stopped] = WAITING
        self.preemptions += len(stopped)
        starting = np.flatnonzero(chosen == 2)
        self.servers[starting], self.counts[starting] = servers[starting], counts[starting]
        for job in starting:
            for server, count in zip(self.servers[job], self.counts[job], strict=True):
                if server >= 0:
                    self.free[server] -= count
        started = np.zeros(len(self.state), np.bool_)
        started[starting] = True
        self.begin(started)

    def pass_time(self, until: float) -> None:
        """Everything that runs goes on until then."""
        passed = until - self.now
        self.now = until
        if passed <= 0 or not len(self.active):
            return
        self.held_seconds += self.used * passed
        self.entitled_seconds += self.entitled * passed
        asking = self.demand > 0
        self.asking_seconds += asking * passed
        self.share_seconds += np.where(asking, np.minimum(1.0, self.used / np.maximum(self.entitled, 1e-9)), 0.0) * passed
        rows = self.active[self.state[self.active] == RUNNING]
        work = np.maximum(0.0, passed - self.overhead[rows])
        self.overhead[rows] = np.maximum(0.0, self.overhead[rows] - passed)
        self.left[rows] -= work
        self.served[rows] += work

    def next_end(self) -> float:
        rows = self.active[self.state[self.active] == RUNNING]
        return self.now + float((self.left[rows] + self.overhead[rows]).min()) if len(rows) else np.inf

    def remove_ended(self) -> npt.NDArray[np.int64]:
        rows = self.active[self.state[self.active] == RUNNING]
        ended = rows[self.left[rows] <= 1e-5]
        for job in ended:
            release(job, self.free, self.servers, self.counts)
        self.state[ended], self.end[ended] = ENDED, self.now
        self.active = self.active[self.state[self.active] != ENDED]
        return ended

    def count(self) -> None:
        """Who asks for what and holds what from now on."""
        tenants = len(self.demand)
        held = self.active[self.state[self.active] == RUNNING]
        tenant, gpus = self.trace.tenant, self.trace.gpus
        self.demand = np.bincount(tenant[self.active], gpus[self.active], tenants).astype(np.int64)
        self.used = np.bincount(tenant[held], gpus[held], tenants).astype(np.int64)
        self.entitled = max_min(self.demand, self.server_count * PER_SERVER)


class SchedulingPolicy:
    """Told of arrivals and ends; `decide` starts and, if it is preemptive, stops."""

    name = ""
    period_seconds: float | None = None

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    def arrived(self, job: int) -> None: ...

    def ended(self, job: int) -> None: ...

    def passed(self, cluster: Cluster, seconds: float) -> None: ...

    def decide(self, cluster: Cluster) -> None:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Result:
    """Hours. The indices are Jain's, over tenants: of what each held against what it was entitled to while it asked for anything, of
    the mean part of its entitlement that it held, and of its mean slowdown."""

    policy: str
    servers: int
    mean_completion: float
    median_completion: float
    completion_99: float
    mean_wait: float
    service_index: float
    share_index: float
    slowdown_index: float
    preemptions: int
    utilisation: float
    by_tenant: dict[str, tuple[float, float]]


def simulate(trace: Trace, servers: int, policy: SchedulingPolicy) -> Result:
    cluster = Cluster(trace, servers)
    arrived, count = 0, len(trace.arrival)
    while arrived < count or len(cluster.active):
        due = trace.arrival[arrived] if arrived < count else np.inf
        due = min(due, cluster.next_end())
        if policy.period_seconds and (cluster.state[cluster.active] == WAITING).any():
            due = min(due, cluster.now + policy.period_seconds)
        policy.passed(cluster, due - cluster.now)
        cluster.pass_time(due)
        for job in cluster.remove_ended():
            policy.ended(int(job))
        first = arrived
        while arrived < count and trace.arrival[arrived] <= due:
            policy.arrived(arrived)
            arrived += 1
        cluster.state[first:arrived] = WAITING
        cluster.active = np.concatenate([cluster.active, np.arange(first, arrived)])
        if len(cluster.active):
            policy.decide(cluster)
        cluster.count()
    return _result(policy.name, cluster)


def jain(values: npt.NDArray[np.float64]) -> float:
    """1: all alike; one over their number: one has everything."""
    return float(values.sum() ** 2 / (len(values) * (values**2).sum()))


def _result(name: str, cluster: Cluster) -> Result:
    trace = cluster.trace
    completion = cluster.end - trace.arrival
    present = [number for number in range(len(trace.tenants)) if (trace.tenant == number).any()]
    service = cluster.held_seconds[present] / cluster.entitled_seconds[present]
    share = cluster.share_seconds[present] / cluster.asking_seconds[present]
    slowdown = np.array([(completion / trace.seconds)[trace.tenant == number].mean() for number in present])
    hours = completion / 3600
    return Result(
        policy=name,
        servers=cluster.server_count,
        mean_completion=float(hours.mean()),
        median_completion=float(np.median(hours)),
        completion_99=float(np.percentile(hours, 99)),
        mean_wait=float((cluster.first_start - trace.arrival).mean() / 3600),
        service_index=jain(service),
        share_index=jain(share),
        slowdown_index=jain(slowdown),
        preemptions=cluster.preemptions,
        utilisation=float(trace.gpus @ trace.seconds) / (cluster.server_count * PER_SERVER * float(cluster.end.max() - trace.arrival[0])),
        by_tenant={trace.tenants[n]: (float(hours[trace.tenant == n].mean()), float(s)) for n, s in zip(present, service, strict=True)},
    )
