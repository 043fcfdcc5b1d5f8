"""The published protocol: pods are offered once, in order, nothing leaves."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from benchmarks.openb_baselines import BEST_FIT, FGD, Typical, baseline_best, baseline_choice, typical_pods, usable_less_free
from benchmarks.openb_trace import DEVICE_MILLI, Trace, allocated_percent, arrivals
from bushel.scheduling.kernels.mode import lean_kernel, twin
from bushel.scheduling.packing.learning import learn
from bushel.scheduling.packing.presets import relearning_moments
from bushel.scheduling.packing.rows import COUNT, CPU, MEMORY, MODEL, Rows, State, best, make_rows, make_state, occupy, revalue, touch
from bushel.scheduling.packing.tables import Tables

Array = Any
OURS = 2
POLICIES = {"BestFit": BEST_FIT, "FGD": FGD, "ours": OURS}


class Fleet(NamedTuple):
    """All that a policy keeps; `before` is the baseline's value of each node."""

    state: State
    rows: Rows
    typical: Typical
    before: Array


def make_fleet(trace: Trace, seed: int) -> Fleet:
    """Nodes in the order of their names, which are random for each seed."""
    order = np.argsort(np.random.default_rng(1000 + seed - 42).permutation(len(trace.cpu)))
    counts = trace.counts[order]
    devices = np.full((len(order), int(counts.max())), DEVICE_MILLI)
    state = make_state(trace.cpu[order], trace.memory[order], devices, counts, trace.models[order])
    return Fleet(state, make_rows(trace.classes, state), typical_pods(trace), np.zeros(len(order)))


@lean_kernel
def start(policy: int, tables: Tables, fleet: Fleet, number: int) -> tuple[int, int]:
    """Place a pod of the class. Returns its node, -1 for none, and its devices as bits."""
    state, rows, typical, before = fleet
    if policy == OURS:
        row = best(tables, state, rows, number)
        return (row, occupy(tables, state, rows, number, row)) if row >= 0 else (-1, 0)
    row = baseline_best(policy, typical, state, rows, before, number)
    return (row, baseline_occupy(policy, tables, fleet, number, row)) if row >= 0 else (-1, 0)


@lean_kernel
def baseline_occupy(policy: int, tables: Tables, fleet: Fleet, number: int, row: int) -> int:
    state, rows, typical, before = fleet
    wanted = rows.classes[number]
    taken = 0
    if wanted[3] > 0:
        device = baseline_choice(policy, typical, state, rows, before, number, row)[1]
        state.devices[row, device] -= wanted[3]
        taken = 1 << device
    else:
        missing = wanted[2]
        for device in range(state.nodes[row, COUNT]):
            if missing > 0 and state.devices[row, device] == DEVICE_MILLI:
                state.devices[row, device] = 0
                missing -= 1
                taken |= 1 << device
    state.nodes[row, CPU] -= wanted[0]
    state.nodes[row, MEMORY] -= wanted[1]
    touch(tables, state, rows, row)
    value_baseline(policy, fleet, row)
    return taken


@lean_kernel
def value_baseline(policy: int, fleet: Fleet, row: int) -> None:
    if policy == FGD:
        node = fleet.state.nodes[row]
        fleet.before[row] = usable_less_free(fleet.typical, node[CPU], fleet.state.devices[row], node[COUNT], node[MODEL])


@lean_kernel
def value_all(policy: int, tables: Tables, fleet: Fleet) -> None:
    revalue(tables, fleet.state, fleet.rows)
    for row in range(fleet.before.shape[0]):
        value_baseline(policy, fleet, row)


@lean_kernel
def offer(policy: int, tables: Tables, fleet: Fleet, pods: Array, placed: Array) -> None:
    for number in range(pods.shape[0]):
        placed[number] = start(policy, tables, fleet, pods[number])[0]


class Filled(NamedTuple):
    allocated: float
    refused: tuple[float, float, float]  # percent of the shares, of the pods of one device, of those of several
    pods: int


def fill(trace: Trace, policy: int, seed: int, part: float = 1.3) -> Filled:
    """One run. Ours learns only from the pods that were offered before."""
    pods = arrivals(trace, seed, part)
    fleet = make_fleet(trace, seed)
    placed = np.full(len(pods), -1, np.int64)
    cuts = [0, *relearning_moments(len(pods)), len(pods)] if policy == OURS else [0, len(pods)]
    for first, last in pairwise(cuts):
        tables = learn(trace.demands(pods[:first]), trace.model_count, int(trace.counts.max())).fill
        twin(value_all)(policy, tables, fleet)
        twin(offer)(policy, tables, fleet, pods[first:last], placed[first:last])
    classes = trace.classes[pods]
    whole, share = classes[:, 2], classes[:, 3]
    refused = tuple(float((placed[kind] < 0).mean() * 100) if kind.any() else 0.0 for kind in (share > 0, whole == 1, whole > 1))
    return Filled(allocated_percent(trace, pods, placed >= 0), (refused[0], refused[1], refused[2]), len(pods))
