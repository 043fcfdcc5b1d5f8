"""Node and pod lists of the openb format, sequences of arrivals made of them, and a small made-up list where no data is at hand.

Columns of nodes: sn, cpu_milli, memory_mib, gpu, model. Columns of pods: name, cpu_milli, memory_mib, num_gpu, gpu_milli (of each GPU),
gpu_spec (allowed models joined by `|`).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bushel.scheduling.packing.learning import Demand

Array = Any
DEVICE_MILLI = 1000
_NO_SUCH_MODEL = 1 << 40


@dataclass(frozen=True, eq=False)
class Trace:
    """`classes` is class × (CPU, memory, whole devices, share, models as a bit mask); `pods` are class numbers in order of name."""

    name: str
    cpu: Array
    memory: Array
    counts: Array
    models: Array
    classes: Array
    pods: Array

    @property
    def capacity(self) -> int:
        return int(self.counts.sum()) * DEVICE_MILLI

    @property
    def model_count(self) -> int:
        return int(self.models.max()) + 1

    @property
    def volumes(self) -> Array:
        """Thousandths of devices that a pod of each class asks for."""
        return self.classes[:, 2] * DEVICE_MILLI + self.classes[:, 3]

    def demands(self, pods: Array) -> list[Demand]:
        counts = np.bincount(pods, minlength=len(self.classes))
        everything = range(self.model_count)
        return [
            Demand(int(c[0]), int(c[1]), int(c[2]), int(c[3]), tuple(m for m in everything if (c[4] >> m) & 1), int(counts[number]))
            for number, c in enumerate(self.classes)
            if counts[number] and not c[4] & _NO_SUCH_MODEL
        ]


def read_trace(nodes_file: Path, pods_file: Path) -> Trace:
    with nodes_file.open(newline="") as file:
        nodes = list(csv.DictReader(file))
    with pods_file.open(newline="") as file:
        pods = sorted(csv.DictReader(file), key=lambda pod: pod["name"])
    models = {model: number for number, model in enumerate(sorted({node["model"] for node in nodes}))}
    rows = [_class_of(pod, models) for pod in pods]
    return _trace(
        pods_file.stem.removeprefix("openb_pod_list_"),
        [(int(n["cpu_milli"]), int(n["memory_mib"]), int(n["gpu"]), models[n["model"]]) for n in nodes],
        rows,
    )


def made_up_trace(nodes: int, pods: int, seed: int) -> Trace:
    """Of three models, shares of eight sizes, one, two, four and eight whole devices, and some pods without."""
    random = np.random.default_rng(seed)
    kinds = np.array([(64000, 262144, 2, 0), (96000, 393216, 8, 1), (96000, 393216, 8, 1), (128000, 786432, 8, 2)])
    shares = np.array([110, 190, 270, 320, 470, 500, 650, 810])
    rows: list[tuple[int, int, int, int, int]] = []
    for draw in random.random(pods):
        cpu, memory = int(random.choice([2000, 4000, 8000, 12000])), int(random.choice([4096, 16384, 32768, 49152]))
        if draw < 0.1:
            rows.append((cpu, memory, 0, 0, 0))
        elif draw < 0.45:
            rows.append((cpu, memory, 0, int(random.choice(shares)), 0))
        else:
            whole = int(random.choice([1, 1, 1, 1, 1, 1, 2, 4, 8]))
            rows.append((cpu * whole // 2, memory * whole // 2, whole, 0, 4 if draw > 0.97 else 0))
    return _trace("made-up", [tuple(int(x) for x in kind) for kind in kinds[random.integers(len(kinds), size=nodes)]], rows)


def _class_of(pod: dict[str, str], models: dict[str, int]) -> tuple[int, int, int, int, int]:
    count = int(pod["num_gpu"])
    milli = min(int(pod["gpu_milli"]), DEVICE_MILLI) if count else 0
    mask = 0
    for model in (pod.get("gpu_spec") or "").split("|") if count else ():
        if model:
            mask |= 1 << models[model] if model in models else _NO_SUCH_MODEL
    shared = count == 1 and milli < DEVICE_MILLI
    return int(pod["cpu_milli"]), int(pod["memory_mib"]), 0 if shared else count, milli if shared else 0, mask


def _trace(name: str, nodes: list[tuple[int, ...]], rows: list[tuple[int, int, int, int, int]]) -> Trace:
    columns = np.array(nodes, np.int64).T
    classes, pods = np.unique(np.array(rows, np.int64), axis=0, return_inverse=True)
    return Trace(name, columns[0], columns[1], columns[2], columns[3], classes, pods.reshape(-1))


def arrivals(trace: Trace, seed: int, part: float = 1.3) -> Array:
    """The published protocol: all pods shuffled, then draws with replacement until demand would pass `part` of the capacity."""
    random = np.random.default_rng(seed)
    order = list(trace.pods[random.permutation(len(trace.pods))])
    volumes = trace.volumes
    asked = int(volumes[trace.pods].sum())
    while True:
        pod = trace.pods[int(random.integers(len(trace.pods)))]
        if asked + volumes[pod] > part * trace.capacity:
            break
        asked += int(volumes[pod])
        order.append(pod)
    return np.array(order, np.int64)


def allocated_percent(trace: Trace, pods: Array, placed: Array) -> float:
    """Mean over the arrivals at which the demand so far, rounded to a percent of the capacity, is 130."""
    volumes = trace.volumes[pods]
    asked = np.round(np.cumsum(volumes) / trace.capacity * 100)
    used = np.cumsum(np.where(placed, volumes, 0)) / trace.capacity * 100
    at = asked == 130
    if not at.any():
        at = asked >= asked[-1] - 1
    return float(np.round(used[at], 2).mean())
