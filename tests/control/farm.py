"""A small fleet with agents that hold leases, real submissions, and a scheduler to step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bushel.control import submit
from bushel.control.schedule import Scheduler
from bushel.control.snapshot import SnapshotKeeper
from bushel.spec.canonical import canonical
from bushel.store.database import Database
from tests.control.lifecycle_world import World

GIB = 1 << 30


def make_farm(database: Database) -> World:
    """Two clusters of two nodes of 4 CPUs and 16 GiB."""
    farm = World.build(database)
    for number, agent in enumerate(farm.agents):
        nodes = [node(f"c{number}-n{n}", gpu=2000 if n == 2 else 0) for n in (1, 2)]
        farm.sync(agent, nodes=nodes, complete=True)
    with database.transaction() as tx:
        tx.execute("delete from nodes where state = 'lost'")  # those of the world without nodes of its own
    return farm


def node(name: str, cpu: int = 4000, memory: int = 16 * GIB, gpu: int = 0, **rest: Any) -> dict[str, Any]:
    capacity = {"cpu": cpu, "memory": memory, "disk": 100 * GIB} | ({"gpu/H100": gpu} if gpu else {})
    return {"name": name, "capacity": capacity, "labels": {}, "topology": [], "state": "ready", "detail": {}} | rest


def submit_job(farm: World, count: int = 1, **document: Any) -> list[int]:
    documents = [canonical({"run": "true", "resources": {"cpu": 1, "memory": "1GiB"}} | document) for _ in range(count)]
    with farm.database.transaction() as tx:
        return [row["id"] for row in submit.submit(tx, farm.principal, documents, project="home/main/main")]


def scheduler(farm: World) -> Scheduler:
    return Scheduler(farm.database, farm.lease)


def run_dry(step: Callable[[], int]) -> int:
    total = 0
    while started := step():
        total += started
    return total


def rows(farm: World, query: str, *parameters: Any) -> list[dict[str, Any]]:
    with farm.database.transaction() as tx:
        return tx.all(query, parameters)


def over_committed(farm: World) -> list[dict[str, Any]]:
    """Nodes that hold more of something than they have."""
    return rows(
        farm,
        """
        select n.name, held.resource, held.amount, n.capacity from (
            select (part ->> 'node')::bigint as node, amount.key as resource,
                   sum(amount.value::bigint * ((part -> 'ranks' ->> 1)::int - (part -> 'ranks' ->> 0)::int)) as amount
            from attempts a, jsonb_array_elements(a.placement) part, jsonb_each_text(part -> 'amounts') amount
            where a.state <> 'ended' group by 1, 2
        ) held join nodes n on n.id = held.node
        where held.amount > coalesce((n.capacity ->> held.resource)::bigint, 0)
        """,
    )


def same_as_loaded(farm: World, keeper: SnapshotKeeper) -> None:
    fresh = SnapshotKeeper(farm.database)
    fresh.refresh()
    assert keeper.refresh().contents() == fresh.snapshot.contents()
