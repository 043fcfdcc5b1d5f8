"""Pods that come and go: Poisson arrivals drawn from a list, exponential lifetimes with mean 1, with a queue or without.

With a queue a pod that fits nowhere waits; where something ends the oldest head of a class that fits there starts; later pods may
overtake one that fits nowhere. Without, it is lost. Load is GPU work offered over GPU capacity. The first third of the arrivals warms up.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from benchmarks.openb_fill import OURS, Fleet, baseline_occupy, make_fleet, start, value_all, value_baseline
from benchmarks.openb_trace import Trace
from bushel.scheduling.kernels.mode import lean_kernel, twin
from bushel.scheduling.packing.drain import Drains, arrived, emptied, give_way, make_drains, served
from bushel.scheduling.packing.learning import Learned, learn
from bushel.scheduling.packing.presets import TURNOVER_EVENTS, relearning_moments, steady_next
from bushel.scheduling.packing.rows import fits, occupy, vacate
from bushel.scheduling.packing.tables import Tables

Array = Any

# places in `World.numbers`
NOW, NEXT, RUNNING, FREE, QUEUED, LOST, OFFERED, ARRIVED, LEFT, WARM = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
# places in `World.sums`
SPAN, ALLOCATED, FRAGMENTED = 0, 1, 2


class World(NamedTuple):
    pods: Array  # class of each, in order of arrival
    arrive: Array
    life: Array
    ends: Array  # heap: when the pods that run end
    ending: Array  # heap: which they are
    node: Array
    devices: Array
    wait: Array  # -1: not served
    follower: Array  # the next that waits of the same class
    first: Array  # class → the first that waits, -1 for none
    last: Array
    volume: Array  # class → thousandths of devices
    numbers: Array
    sums: Array
    clock: Array


@lean_kernel
def push(world: World, size: int, moment: float, pod: int) -> None:
    at = size
    while at > 0:
        above = (at - 1) // 2
        if world.ends[above] <= moment:
            break
        world.ends[at] = world.ends[above]
        world.ending[at] = world.ending[above]
        at = above
    world.ends[at] = moment
    world.ending[at] = pod


@lean_kernel
def pop(world: World, size: int) -> int:
    """Remove the first of `size` entries."""
    top = world.ending[0]
    moment = world.ends[size - 1]
    pod = world.ending[size - 1]
    at = 0
    while 2 * at + 1 < size - 1:
        below = 2 * at + 1
        if below + 1 < size - 1 and world.ends[below + 1] < world.ends[below]:
            below += 1
        if world.ends[below] >= moment:
            break
        world.ends[at] = world.ends[below]
        world.ending[at] = world.ending[below]
        at = below
    world.ends[at] = moment
    world.ending[at] = pod
    return top


@lean_kernel
def started(world: World, pod: int, row: int, taken: int) -> None:
    n = world.numbers
    world.node[pod] = row
    world.devices[pod] = taken
    world.wait[pod] = world.clock[0] - world.arrive[pod]
    n[FREE] -= world.volume[world.pods[pod]]
    push(world, n[RUNNING], world.clock[0] + world.life[pod], pod)
    n[RUNNING] += 1


@lean_kernel
def advance(world: World, moment: float) -> None:
    n = world.numbers
    if n[NEXT] >= n[WARM]:
        span = moment - world.clock[0]
        world.sums[SPAN] += span
        world.sums[ALLOCATED] += span * (world.clock[1] - n[FREE])
        world.sums[FRAGMENTED] += span * min(n[FREE], n[QUEUED])
    world.clock[0] = moment


@lean_kernel
def serve_node(policy: int, tables: Tables, fleet: Fleet, drains: Drains, world: World, row: int) -> None:
    """Start what waits on a node where something ended: the oldest head of a class that fits, again and again."""
    n = world.numbers
    while n[QUEUED] > 0:
        oldest = world.pods.shape[0]
        for number in range(world.first.shape[0]):
            head = world.first[number]
            if 0 <= head < oldest and fits(fleet.state.nodes, fleet.rows.classes, fleet.rows.allowed, number, row):
                oldest = head
        if oldest == world.pods.shape[0]:
            return
        number = world.pods[oldest]
        world.first[number] = world.follower[oldest]
        n[QUEUED] -= world.volume[number]
        if policy == OURS:
            taken = occupy(tables, fleet.state, fleet.rows, number, row)
            served(fleet.state, fleet.rows, drains, number, row)
        else:
            taken = baseline_occupy(policy, tables, fleet, number, row)
        started(world, oldest, row, taken)


@lean_kernel
def run_until(policy: int, queueing: bool, tables: Tables, fleet: Fleet, drains: Drains, world: World, stop: int, events: int) -> int:
    """Until so many pods have arrived, or so many events have passed. Returns how many events passed."""
    n = world.numbers
    passed = 0
    while n[NEXT] < stop and passed < events:
        passed += 1
        if n[RUNNING] > 0 and world.ends[0] < world.arrive[n[NEXT]]:
            advance(world, world.ends[0])
            pod = pop(world, n[RUNNING])
            n[RUNNING] -= 1
            n[LEFT] += 1
            number = world.pods[pod]
            row = world.node[pod]
            n[FREE] += world.volume[number]
            vacate(tables, fleet.state, fleet.rows, number, row, world.devices[pod])
            value_baseline(policy, fleet, row)
            if policy == OURS:
                emptied(fleet.state, fleet.rows, drains, row)
            serve_node(policy, tables, fleet, drains, world, row)
            continue
        advance(world, world.arrive[n[NEXT]])
        pod = n[NEXT]
        n[NEXT] += 1
        n[ARRIVED] += 1
        number = world.pods[pod]
        if pod >= n[WARM]:
            n[OFFERED] += world.volume[number]
        row, taken = -1, 0
        if world.first[number] < 0:
            row, taken = start(policy, tables, fleet, number)
            if row < 0 and policy == OURS and give_way(fleet.state, fleet.rows, drains, number):
                row, taken = start(policy, tables, fleet, number)
        if row >= 0:
            started(world, pod, row, taken)
            if policy == OURS:
                arrived(fleet.state, fleet.rows, drains, number, row, False)
            continue
        if queueing:
            if world.first[number] < 0:
                world.first[number] = pod
            else:
                world.follower[world.last[number]] = pod
            world.last[number] = pod
            n[QUEUED] += world.volume[number]
        elif pod >= n[WARM]:
            n[LOST] += world.volume[number]
        if policy == OURS:
            arrived(fleet.state, fleet.rows, drains, number, -1, queueing)
    return passed


class Churned(NamedTuple):
    """Percents of the capacity, of the offered work, of the pods of eight devices; waits in lifetimes, of pods that were served."""

    allocated: float
    fragmented: float
    lost: float
    large_lost: float
    wait: float
    large_wait: float


@lru_cache(maxsize=1)
def lessons(trace: Trace, pods: int, seed: int) -> list[Learned]:
    """What is learnt at each moment of relearning from the pods that came before: the same at every load."""
    classes = draw(trace, np.random.default_rng(seed), pods)
    moments = [0, *relearning_moments(pods)]
    return [learn(trace.demands(classes[:moment]), trace.model_count, int(trace.counts.max())) for moment in moments]


def draw(trace: Trace, random: np.random.Generator, pods: int) -> Array:
    return trace.pods[random.integers(len(trace.pods), size=pods)]


def churn(trace: Trace, policy: int, queueing: bool, load: float, pods: int, seed: int) -> Churned:
    random = np.random.default_rng(seed)
    classes = draw(trace, random, pods)
    mean = float(trace.volumes[trace.pods].mean())
    count = len(trace.classes)
    numbers = np.zeros(10, np.int64)
    numbers[FREE], numbers[WARM] = trace.capacity, pods // 3
    none = np.full(pods, -1, np.int64)
    world = World(
        classes,
        np.cumsum(random.exponential(mean / (load * trace.capacity), pods)),
        random.exponential(1.0, pods),
        np.zeros(pods + 1),
        np.zeros(pods + 1, np.int64),
        none.copy(),
        none.copy(),
        np.full(pods, -1.0),
        none.copy(),
        np.full(count, -1, np.int64),
        np.full(count, -1, np.int64),
        trace.volumes,
        numbers,
        np.zeros(3),
        np.array([0.0, float(trace.capacity)]),
    )
    fleet = make_fleet(trace, seed)
    drains = make_drains(fleet.state, fleet.rows)
    steady, left = False, TURNOVER_EVENTS
    cuts = [0, *relearning_moments(pods), pods] if policy == OURS else [0, pods]
    for learned, last in zip(lessons(trace, pods, seed), cuts[1:], strict=False):
        tables = learned.steady if steady else learned.fill
        twin(value_all)(policy, tables, fleet)
        while numbers[NEXT] < last:
            left -= twin(run_until)(policy, queueing, tables, fleet, drains, world, last, left)
            if left == 0:
                now = steady_next(steady, int(numbers[ARRIVED]), int(numbers[LEFT]))
                left, numbers[ARRIVED], numbers[LEFT] = TURNOVER_EVENTS, 0, 0
                if policy == OURS and now != steady:
                    steady = now
                    tables = learned.steady if steady else learned.fill
                    twin(value_all)(policy, tables, fleet)
    wait = world.wait[pods // 3 :]
    large = trace.classes[classes[pods // 3 :], 2] >= 8
    served = wait >= 0

    def mean_of(kind: Array) -> float:
        return float(wait[kind & served].mean()) if (kind & served).any() else 0.0

    return Churned(
        float(world.sums[ALLOCATED] / world.sums[SPAN] / trace.capacity * 100),
        float(world.sums[FRAGMENTED] / world.sums[SPAN] / trace.capacity * 100),
        float(numbers[LOST] / max(numbers[OFFERED], 1) * 100),
        float((~served[large]).mean() * 100) if large.any() else 0.0,
        mean_of(served),
        mean_of(large),
    )
