"""BestFit and fragmentation gradient descent (FGD) as published, over the same node states as the packing of the platform.

FGD (Weng et al., USENIX ATC 2023): typical pods are the classes that make up 95 % of the list; a node's fragments are what its free GPU
holds that a typical pod cannot use; a pod goes where the sum of fragments grows least, scores being whole numbers from 0 to 100 and
ties going to the first name. BestFit scores what is left of CPU and GPU. Neither looks at memory but as a filter.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from benchmarks.openb_trace import DEVICE_MILLI, Trace
from bushel.scheduling.kernels.mode import lean_kernel
from bushel.scheduling.packing.rows import COUNT, CPU, MODEL, NOWHERE, Rows, State, fits

Array = Any
BEST_FIT, FGD = 0, 1

_TYPICAL = 0.95
_CLASS_CPU, _WHOLE, _SHARE = 0, 2, 3


class Typical(NamedTuple):
    """Typical pods with GPUs, grouped by how many and how much of each: `entries` are (group, CPU) for each model."""

    groups: Array  # group × (GPUs, thousandths of each)
    entries: Array
    weights: Array
    offsets: Array  # model → its entries
    usable: Array  # scratch, one a group
    trial: Array  # scratch, a node's devices


def typical_pods(trace: Trace) -> Typical:
    classes, counts = np.unique(trace.classes[trace.pods][:, [0, 3, 2, 4]], axis=0, return_counts=True)
    ranked = sorted(zip(counts.tolist(), classes.tolist(), strict=True), key=lambda one: (one[0], _as_published(one[1])), reverse=True)
    seen, chosen = 0, []
    for count, (cpu, share, whole, models) in ranked:
        if seen >= _TYPICAL * len(trace.pods):
            break
        seen += count
        if whole or share:
            chosen.append((cpu, (1, share) if share else (whole, DEVICE_MILLI), models, count))
    groups = sorted({group for _, group, _, _ in chosen}) or [(1, DEVICE_MILLI)]
    entries: list[tuple[int, int]] = []
    weights: list[float] = []
    offsets = [0]
    for model in range(trace.model_count):
        of_model: dict[tuple[int, int], int] = {}
        for cpu, group, models, count in chosen:
            if models == 0 or (models >> model) & 1:
                name = (groups.index(group), cpu)
                of_model[name] = of_model.get(name, 0) + count
        entries.extend(sorted(of_model))
        weights.extend(of_model[name] / seen for name in sorted(of_model))
        offsets.append(len(entries))
    return Typical(
        np.array(groups, np.int64),
        np.array(entries, np.int64).reshape(-1, 2),
        np.array(weights),
        np.array(offsets),
        np.zeros(len(groups)),
        np.zeros(64, np.int16),
    )


def _as_published(one: list[int]) -> tuple[int, int, int, int]:
    """CPU, thousandths of a GPU, GPUs, models."""
    cpu, share, whole, models = one
    return cpu, share or (DEVICE_MILLI if whole else 0), 1 if share else whole, models


@lean_kernel
def usable_less_free(typical: Typical, cpu: int, devices: Array, count: int, model: int) -> float:
    """What typical pods can use of the node's free GPU, less what is free: minus its fragments."""
    free = 0
    for device in range(count):
        free += int(devices[device])
    if free == 0:
        return 0.0
    for number in range(typical.groups.shape[0]):
        missing = typical.groups[number, 0]
        usable = 0
        for device in range(count):
            if devices[device] >= typical.groups[number, 1]:
                usable += int(devices[device])
                missing -= 1
        typical.usable[number] = usable if missing <= 0 else 0
    total = 0.0
    for entry in range(typical.offsets[model], typical.offsets[model + 1]):
        if typical.entries[entry, 1] <= cpu:
            total += typical.weights[entry] * typical.usable[typical.entries[entry, 0]]
    return total - free


@lean_kernel
def baseline_choice(policy: int, typical: Typical, state: State, rows: Rows, before: Array, number: int, row: int) -> tuple[int, int]:
    """The score of a node on which the class fits, smaller being better, and the device that a share takes."""
    wanted = rows.classes[number]
    node = state.nodes[row]
    devices = state.devices[row]
    share = wanted[_SHARE]
    cpu = node[CPU] - wanted[_CLASS_CPU]
    chosen = -1
    if policy == BEST_FIT:
        free = 0
        for device in range(node[COUNT]):
            free += int(devices[device])
            if share > 0 and devices[device] >= share and (chosen < 0 or devices[device] < devices[chosen]):
                chosen = device
        left = cpu / 128000.0 * 0.5 + (free - share - wanted[_WHOLE] * DEVICE_MILLI) / 8000.0 * 0.5
        return -math.floor((1.0 - left) * 100.0), chosen
    trial = typical.trial
    for device in range(devices.shape[0]):
        trial[device] = devices[device]
    if share == 0:
        missing = wanted[_WHOLE]
        for device in range(node[COUNT]):
            if missing > 0 and trial[device] == DEVICE_MILLI:
                trial[device] = 0
                missing -= 1
        return _score(before[row] - usable_less_free(typical, cpu, trial, node[COUNT], node[MODEL])), -1
    best = NOWHERE
    for device in range(node[COUNT]):
        if devices[device] >= share:
            trial[device] -= share
            score = _score(before[row] - usable_less_free(typical, cpu, trial, node[COUNT], node[MODEL]))
            trial[device] += share
            if score < best:
                best, chosen = score, device
    return best, chosen


@lean_kernel
def _score(more_fragments: float) -> int:
    return -math.floor(100.0 / (1.0 + math.exp(more_fragments / 1000.0)))


@lean_kernel
def baseline_best(policy: int, typical: Typical, state: State, rows: Rows, before: Array, number: int) -> int:
    """The node that a pod of the class takes, -1 when it fits on none. Ties go to the first."""
    keys = rows.keys[number]
    head = rows.log_state[0]
    everything = rows.position[number] < 0
    for place in range(0 if everything else rows.position[number], state.nodes.shape[0] if everything else head):
        row = place if everything else rows.log[place]
        if everything or rows.last[row] == place:
            keys[row] = (
                baseline_choice(policy, typical, state, rows, before, number, row)[0]
                if fits(state.nodes, rows.classes, rows.allowed, number, row)
                else NOWHERE
            )
    rows.position[number] = head
    row = 0
    for other in range(1, state.nodes.shape[0]):
        if keys[other] < keys[row]:
            row = other
    return row if keys[row] < NOWHERE else -1
