"""The fleet of a simulation, from a few words or a file.

Guarantees: equal words give equal nodes, with the same ids. `16xV100:8` is sixteen nodes of eight V100; `40x32c` forty of 32 CPUs;
parts are joined by commas, and `:spot` at the end of one says that its nodes may be taken back. A CSV is a list of nodes with
`cpu_milli, memory_mib, gpu, model`.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from bushel.domain.resources import CPU, DISK, MEMORY
from bushel.scheduling.entities import Node
from bushel.simulation.readers import what_is_wrong
from bushel.simulation.trace import TraceProblem, World, equal_nodes, gpu_resource, world_of

_MIB, _GIB = 1 << 20, 1 << 30
_PART = re.compile(
    r"(?P<count>[1-9]\d{0,5})x(?:(?P<model>[A-Za-z][\w.-]*):(?P<gpus>[1-9]\d?))?/?(?:(?P<cpus>[1-9]\d{0,3})c)?/?(?:(?P<gib>\d{1,6})g)?(?P<spot>:spot)?"
)


def world_from(text: str) -> World:
    """Of `--nodes`."""
    path = Path(text)
    return world_of(_from_csv(path) if path.suffix == ".csv" else nodes_of_words(text))


def nodes_of_words(text: str) -> list[Node]:
    nodes: list[Node] = []
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None or not (match["model"] or match["cpus"]):
            raise TraceProblem(f"{part!r} names no nodes; write for instance 16xV100:8 or 40x32c/128g or 8xH100:8:spot")
        gpus = int(match["gpus"] or 0)
        cpus = int(match["cpus"] or 12 * gpus)
        capacity = {CPU: 1000 * cpus, MEMORY: _GIB * int(match["gib"] or 8 * cpus), DISK: 1000 * _GIB}
        if gpus:
            capacity[gpu_resource(match["model"])] = 1000 * gpus
        nodes += equal_nodes(int(match["count"]), capacity, first_id=len(nodes) + 1, billing="spot" if match["spot"] else "on_demand")
    return nodes


def _from_csv(path: Path) -> list[Node]:
    nodes: list[Node] = []
    with path.open(newline="", encoding="utf-8") as lines:
        for number, row in enumerate(csv.DictReader(lines), start=1):
            try:
                gpus = int(row["gpu"] or 0)
                capacity = {CPU: int(row["cpu_milli"]), MEMORY: int(row["memory_mib"]) * _MIB, DISK: 1000 * _GIB}
                if gpus:
                    capacity[gpu_resource(row["model"])] = 1000 * gpus
            except (KeyError, ValueError, TypeError) as problem:
                raise TraceProblem(f"{path.name}: row {number}: {what_is_wrong(row, problem)}") from problem
            nodes += equal_nodes(1, capacity, first_id=number)
    if not nodes:
        raise TraceProblem(f"{path.name}: no node in it; its columns are cpu_milli, memory_mib, gpu, model")
    return nodes
