"""Kueue's three load scenarios in virtual time, with the real plan: `python -m benchmarks.kueue_scenarios`.

Rebuilt from its performance configuration (baseline, large-scale, tas): every queue creates each of its sets on a clock of its own.
Beside it stand the figures of its own CI: the use of nominal quota and the mean time to admission of each class. There, requests to the
API bound the run; here, nothing but capacity and quota does. In baseline and large-scale quota alone decides, so one node holds all of
it, as its run has no nodes either.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.report import Report, parse
from bushel.domain.job import Constraints, GroupShape
from bushel.domain.resources import ResourceRequest
from bushel.scheduling.entities import Cluster, Node, Queue, ShapeClass
from bushel.scheduling.kernels.mode import serve_compiled
from bushel.scheduling.plan import Policy
from bushel.simulation.engine import Setting, Simulation
from bushel.simulation.trace import TraceJob, World, equal_nodes

NOMINAL_MILLI, BORROWING_MILLI = 20_000, 100_000


@dataclass(frozen=True, slots=True)
class Set:
    """`count` workloads of `pods` pods, one every `every_seconds`. `placements` says how many of them ask for what."""

    name: str
    count: int
    pods: int
    cpu_milli: int
    seconds: float
    every_seconds: float
    priority: int
    placements: tuple[tuple[int, Constraints], ...] = ((1 << 30, Constraints()),)

    def placement(self, number: int) -> Constraints:
        for count, constraints in self.placements:
            if number < count:
                return constraints
            number -= count
        return self.placements[-1][1]


@dataclass(frozen=True, slots=True)
class Scenario:
    """`latency` is the mean time to admission that Kueue's CI measures, the slower of its runs; `usage` that of nominal quota."""

    name: str
    cohorts: int
    queues: int
    sets: tuple[Set, ...]
    nodes: tuple[Node, ...]
    usage: float
    latency: dict[str, float]


def _one_node(milli: int) -> tuple[Node, ...]:
    return (Node(1, 1, "all", {"cpu": milli, "memory": 1 << 50}),)


def scenarios() -> tuple[Scenario, ...]:
    required, preferred = Constraints(require="rack"), Constraints(prefer="rack")

    def racks(*counts: int) -> tuple[tuple[int, Constraints], ...]:
        return tuple(zip(counts, (required, preferred, preferred), strict=True))  # its balanced ones are of the softer kind

    return (
        Scenario(
            *("baseline", 5, 6),
            (
                Set("small", 350, 1, 1000, 0.2, 0.1, 50),
                Set("medium", 100, 1, 5000, 0.5, 0.5, 100),
                Set("large", 50, 1, 20000, 1.0, 1.2, 200),
            ),
            _one_node(30 * NOMINAL_MILLI),
            0.559,
            {"large": 16.5, "medium": 76.8, "small": 215.5},
        ),
        Scenario(
            *("large-scale", 10, 100),
            (
                Set("small", 35, 1, 1000, 0.15, 0.06, 50),
                Set("medium", 11, 1, 5000, 0.35, 0.3, 100),
                Set("large", 4, 1, 20000, 0.7, 0.7, 200),
            ),
            _one_node(1000 * NOMINAL_MILLI),
            0.386,
            {"large": 105.6, "medium": 256.4, "small": 700.4},
        ),
        Scenario(
            *("tas", 5, 6),
            (
                Set("small", 350, 2, 500, 0.2, 0.1, 50, racks(120, 120, 110)),
                Set("medium", 100, 4, 1250, 0.5, 0.5, 100, racks(34, 33, 33)),
                Set("large", 50, 8, 2500, 1.0, 1.2, 200, racks(17, 17, 16)),
            ),
            tuple(equal_nodes(640, {"cpu": 96_000, "memory": 256 << 30}, per_rack=64)),
            0.624,
            {"large": 37.9, "medium": 106.0, "small": 238.0},
        ),
    )


def world_of(scenario: Scenario) -> World:
    queues: list[Queue] = []
    for cohort in range(scenario.cohorts):
        parent = Queue(len(queues) + 1, f"cohort-{cohort:02d}", quota={"cpu": scenario.queues * NOMINAL_MILLI})
        queues.append(parent)
        queues += [
            Queue(
                *(parent.id + 1 + number, f"queue-{cohort:02d}-{number:03d}", parent.id),
                guarantee={"cpu": NOMINAL_MILLI},
                borrowing={"cpu": BORROWING_MILLI},
            )
            for number in range(scenario.queues)
        ]
    return World((Cluster(1, "cluster", "site"),), scenario.nodes, tuple(queues))


def jobs_of(scenario: Scenario, world: World, part: float = 1.0) -> Iterator[TraceJob]:
    number = 0
    for queue in world.queues:
        if queue.parent_id is None:
            continue
        for kind in scenario.sets:
            for at in range(round(kind.count * part)):
                number += 1
                shape = ShapeClass((GroupShape("main", kind.pods, kind.pods, ResourceRequest(kind.cpu_milli, 0)),), kind.placement(at))
                moment = round((at + 1) * kind.every_seconds, 6)
                yield TraceJob(number, queue.name, moment, kind.seconds, shape, name=kind.name, priority=kind.priority)


def measure(report: Report, part: float = 1.0, only: Sequence[str] = ()) -> None:
    serve_compiled()
    for scenario in scenarios()[::2]:  # kernels compile once a machine; that is no part of this
        world = world_of(scenario)
        Simulation(jobs_of(scenario, world, 0.02), world, Setting("first", Policy())).run()
    whole = core = 0.0
    for scenario in scenarios():
        if only and scenario.name not in only:
            continue
        world = world_of(scenario)
        jobs = list(jobs_of(scenario, world, part))
        began, core_began = time.perf_counter(), time.process_time()
        setting = Setting(scenario.name, Policy(starts_limit=100_000), forecasts=False)
        outcomes = Simulation(jobs, world, setting).run()
        seconds = time.perf_counter() - began
        whole, core = whole + seconds, core + time.process_time() - core_began
        nominal = scenario.cohorts * scenario.queues * NOMINAL_MILLI
        held = sum(queue.held for queue in outcomes.queues)
        report.add(f"{scenario.name}: use of nominal quota", held / nominal / outcomes.seconds, "", "Kueue", scenario.usage)
        for kind in ("large", "medium", "small"):
            waits = np.array([job.wait for job in outcomes.jobs if job.name == kind])
            report.add(f"{scenario.name}: time to admission, {kind}", float(waits.mean()), "s", "Kueue", scenario.latency[kind])
        report.add(f"{scenario.name}: workloads a second of wall time", len(jobs) / seconds, "1/s")
        report.say(f"{outcomes.plans:,} plans, {outcomes.seconds:.1f} s of virtual time in {seconds:.1f} s")
    report.add("wall time of all", whole, "s", "limit", 30.0)
    report.add("time of one core", core, "s", "limit", 30.0)


if __name__ == "__main__":
    options = parse(__doc__ or "", percent=100)
    report = Report()
    measure(report, options.percent / 100)
    report.finish(options.json)
