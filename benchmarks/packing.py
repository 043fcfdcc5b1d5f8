"""What one packing decision costs in a steady state: as many ends as starts, on fleets of 1,213 and 10,000 nodes.

Beside it: the same rule without its memory, every node scored for every task.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

from benchmarks.openb_trace import made_up_trace
from benchmarks.report import Report, parse
from bushel.scheduling.kernels.mode import lean_kernel, twin, using
from bushel.scheduling.packing.learning import learn
from bushel.scheduling.packing.rows import NOWHERE, Rows, State, best, key_of, make_rows, make_state, occupy, revalue, vacate
from bushel.scheduling.packing.tables import DEVICE_MILLI, Tables

Array = Any


@lean_kernel
def naive_best(tables: Tables, state: State, rows: Rows, number: int) -> int:
    chosen = -1
    least = NOWHERE
    for row in range(state.nodes.shape[0]):
        key = key_of(tables, state, rows, number, row)
        if key < least:
            least, chosen = key, row
    return chosen


@lean_kernel
def turn_over(naive: bool, tables: Tables, state: State, rows: Rows, pods: Array, ends: Array, running: Array) -> int:
    """Fill with `pods` while `ends` is -1; later one that runs, picked by `ends`, leaves before each start. Returns how many started.

    `running` is slot × (class, row, devices) with the number of slots in use in its last row.
    """
    size = running.shape[0] - 1
    count = running[size, 0]
    done = 0
    for turn in range(pods.shape[0]):
        if ends[turn] >= 0 and count > 0:
            slot = ends[turn] % count
            vacate(tables, state, rows, running[slot, 0], running[slot, 1], running[slot, 2])
            count -= 1
            for field in range(3):
                running[slot, field] = running[count, field]
        row = naive_best(tables, state, rows, pods[turn]) if naive else best(tables, state, rows, pods[turn])
        if row < 0:
            continue
        running[count, 0] = pods[turn]
        running[count, 1] = row
        running[count, 2] = occupy(tables, state, rows, pods[turn], row)
        count += 1
        done += 1
    running[size, 0] = count
    return done


def decision_micros(nodes: int, turns: int, *, naive: bool) -> float:
    """Microseconds of one end and one start, the fleet being about nine tenths full."""
    trace = made_up_trace(nodes, 20_000, seed=7)
    random = np.random.default_rng(nodes)
    tables = learn(trace.demands(trace.pods), trace.model_count, 8).steady
    state = make_state(trace.cpu, trace.memory, np.full((nodes, 8), DEVICE_MILLI), trace.counts, trace.models)
    rows = make_rows(trace.classes, state)
    mean = float(trace.volumes[trace.pods].mean())
    filling = trace.pods[random.integers(len(trace.pods), size=int(0.9 * trace.capacity / mean))]
    running = np.zeros((len(filling) + turns + 1, 3), np.int64)
    with using(compiled=True):
        twin(revalue)(tables, state, rows)
        twin(turn_over)(False, tables, state, rows, filling, np.full(len(filling), -1), running)
        pods = trace.pods[random.integers(len(trace.pods), size=2 * turns)]
        ends = random.integers(1 << 30, size=2 * turns)
        twin(turn_over)(naive, tables, state, rows, pods[:turns], ends[:turns], running)
        started = time.thread_time()
        twin(turn_over)(naive, tables, state, rows, pods[turns:], ends[turns:], running)
        return (time.thread_time() - started) / turns * 1e6


def measure(report: Report, *, turns: int) -> None:
    for nodes in (1213, 10_000):
        micros = decision_micros(nodes, turns, naive=False)
        report.add(
            f"packing decision, {nodes:,} nodes",
            micros,
            "us",
            "scoring all nodes",
            decision_micros(nodes, max(turns // 100, 10), naive=True),
        )


if __name__ == "__main__":
    options = parse(__doc__ or "", sys.argv[1:], turns=100_000)
    report = Report()
    measure(report, turns=options.turns)
    report.finish(options.json)
