"""An installation as its API tells of it: jobs that ran, nodes, queues, as a trace and a world.

Guarantees: nothing is taken on that was not told, so whoever asked sees a replay of what they may see. Jobs that have not ended say
nothing of how long they run: they are left out and counted, and so are nodes that are lost or cordoned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bushel.domain.resources import CPU, DISK, GPU_PREFIX, MEMORY
from bushel.scheduling.entities import Cluster, Node, Queue
from bushel.scheduling.quota import GPU_OF_ANY_MODEL
from bushel.simulation.nodes import nodes_of_words
from bushel.simulation.readers import job_of_history
from bushel.simulation.trace import TraceJob, TraceProblem, World
from bushel.spec.quantities import cpu_milli, size_bytes
from bushel.spec.tenancy import ResourceAmounts

_LIMITS = ("guarantee", "quota", "lending", "borrowing")
_NAMES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Installation:
    """`jobs` by arrival, the first at 0; `left_out` of them and of nodes."""

    jobs: tuple[TraceJob, ...]
    world: World
    jobs_left_out: int = 0
    nodes_left_out: int = 0

    @property
    def span_seconds(self) -> float:
        return self.jobs[-1].arrival_seconds if self.jobs else 0.0


def read_installation(file: Path) -> Installation:
    """
    Raises:
        TraceProblem: it holds no jobs or no nodes.
    """
    told = json.loads(file.read_text(encoding="utf-8"))
    jobs = [job for row in told["jobs"] if (job := job_of_history(row)) is not None]
    nodes = [row for row in told["nodes"] if row["state"] == "ready" and not row["cordoned"]]
    if not jobs:
        raise TraceProblem("none of the jobs that you may see has begun and ended in that time: look further back with --days")
    if not nodes:
        raise TraceProblem("there is no node that you may see and that takes jobs: give some with --add 8xH100:8")
    jobs.sort(key=lambda job: job.arrival_seconds)
    first = jobs[0].arrival_seconds
    numbered = tuple(replace(job, id=at, arrival_seconds=job.arrival_seconds - first) for at, job in enumerate(jobs, start=1))
    return Installation(numbered, _world(nodes, told["queues"]), len(told["jobs"]) - len(jobs), len(told["nodes"]) - len(nodes))


def _world(nodes: Sequence[Mapping[str, Any]], queues: Sequence[Mapping[str, Any]]) -> World:
    sites = {row["cluster"]: row["site"] for row in nodes}
    clusters = {name: Cluster(at, name, sites[name], containers=True) for at, name in enumerate(sorted(sites), start=1)}
    ids = {row["name"]: at for at, row in enumerate(sorted(queues, key=lambda row: row["name"]), start=1)}
    return World(
        tuple(clusters.values()),
        tuple(_node(at, clusters[row["cluster"]].id, row) for at, row in enumerate(nodes, start=1)),
        tuple(_queue(row, ids) for row in queues),
    )


def _node(number: int, cluster_id: int, row: Mapping[str, Any]) -> Node:
    topology = tuple((level, place) for level, place in row["topology"])
    return Node(number, cluster_id, row["name"], row["capacity"], row["labels"], topology)


def _queue(row: Mapping[str, Any], ids: Mapping[str, int]) -> Queue:
    quota, guarantee, lending, borrowing = (
        ResourceAmounts.model_validate(row[name]).amounts() for name in ("resource_quota", "guarantee", "lending", "borrowing")
    )
    parent = ids.get(row["parent"]) if row["parent"] else None
    return Queue(ids[row["name"]], row["name"], parent, row["weight"], quota, guarantee, lending or None, borrowing or None)


# Changes ----------------------------------------------------------------------------------------------------------------


def with_more_nodes(world: World, words: str) -> World:
    """`8xH100:8`: as `bushel simulate --nodes` takes them; in the first cluster, with names of their own."""
    first = max((node.id for node in world.nodes), default=0) + 1
    cluster = world.clusters[0] if world.clusters else Cluster(1, "added", "added", containers=True)
    more = [
        replace(node, id=first + at, cluster_id=cluster.id, name=f"added-{first + at}", topology=())
        for at, node in enumerate(nodes_of_words(words))
    ]
    return replace(world, clusters=world.clusters or (cluster,), nodes=(*world.nodes, *more))


def without_nodes(world: World, pattern: str) -> World:
    """Those whose name matches, `*` standing for anything."""
    left = tuple(node for node in world.nodes if not fnmatchcase(node.name, pattern))
    if len(left) == len(world.nodes):
        names = [node.name for node in world.nodes]
        shown = ", ".join(names[:_NAMES_SHOWN]) + (f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else "")
        raise TraceProblem(f"--remove {pattern}: no node has such a name; there are {shown}")
    return replace(world, nodes=left)


def with_queue(world: World, words: str) -> World:
    """`vision:weight=500,guarantee.H100=16,quota.cpu=64,borrowing=none`."""
    name, _, rest = words.partition(":")
    queue = next((queue for queue in world.queues if queue.name == name), None)
    if queue is None:
        there = ", ".join(sorted(queue.name for queue in world.queues)) or "none"
        raise TraceProblem(f"--queue {words}: there is no queue {name!r} that you may see; there are: {there}")
    if not rest:
        raise TraceProblem(f"--queue {words}: says no change; write for instance {name}:guarantee=none or {name}:guarantee.H100=16")
    for pair in rest.split(","):
        key, equals, value = pair.partition("=")
        limit, dot, resource = key.partition(".")
        if equals and key == "weight" and value.isdigit():
            queue = replace(queue, weight=int(value))
        elif equals and limit in _LIMITS and not dot and value == "none":
            queue = replace(queue, **{limit: None if limit in ("lending", "borrowing") else {}})  # type: ignore[arg-type]
        elif equals and limit in _LIMITS and dot and resource:
            amounts = {**(getattr(queue, limit) or {}), **_amount(words, resource, value)}
            queue = replace(queue, **{limit: {name: amount for name, amount in amounts.items() if amount is not None}})  # type: ignore[arg-type]
        else:
            raise TraceProblem(
                f"--queue {words}: {pair!r} is no change; write weight=500, guarantee.H100=16, quota.cpu=64 or lending=none "
                f"({', '.join(_LIMITS)})"
            )
    return replace(world, queues=tuple(queue if other.id == queue.id else other for other in world.queues))


def _amount(words: str, resource: str, value: str) -> dict[str, int | None]:
    name = resource if resource in (CPU, MEMORY, DISK, GPU_OF_ANY_MODEL) else GPU_PREFIX + resource
    if value == "none":
        return {name: None}
    try:
        if name in (MEMORY, DISK):
            return {name: size_bytes(value)}
        return {name: cpu_milli(value) if name == CPU else round(1000 * float(value))}
    except ValueError:
        raise TraceProblem(f"--queue {words}: {value!r} is no amount of {resource}; write 64, or 512GiB of memory") from None
