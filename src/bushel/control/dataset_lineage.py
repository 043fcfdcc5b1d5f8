"""From a version, or one part of it, to what it was made of and to what was made of it.

Guarantees: only what the asker may read is named; the rest is counted. Deleted versions are part of the story.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bushel.domain.errors import NotFound
from bushel.domain.ids import attempt_id, decode_job_id
from bushel.domain.principal import Principal
from bushel.store import datasets
from bushel.store.database import Transaction

DEPTH_LIMIT = 50
EDGES_LIMIT = 1000


def lineage(tx: Transaction, principal: Principal, row: Mapping[str, Any], *, part: str | None, depth: int) -> dict[str, Any]:
    """Edges both ways, nearest first, with the versions at both of their ends.

    Raises:
        NotFound: the version has no such part.
    """
    ways = {
        "upstream": [(edge["from_id"], edge["id"], edge["depth"]) for edge in _edges(tx, row, up=True, depth=depth)],
        "downstream": [(edge["id"], edge["from_id"], edge["depth"]) for edge in _edges(tx, row, up=False, depth=depth)],
    }
    rows = datasets.versions_by_id(tx, {number for edges in ways.values() for made, of, _ in edges for number in (made, of)})
    found: dict[str, Any] = {way: _named(principal, rows, edges) for way, edges in ways.items()}
    return {**found, "part": None if part is None else _part(tx, principal, row, part)}


def events(tx: Transaction, project_ids: Sequence[int], version_id: int | None, after: int, limit: int) -> list[dict[str, Any]]:
    """OpenLineage events with their numbers, in the order in which they were written."""
    return tx.all(
        """
        select id, body from lineage_events
        where project_id = any(%(projects)s) and id > %(after)s and (%(version)s::bigint is null or version_id = %(version)s)
        order by id limit %(limit)s
        """,
        {"projects": list(project_ids), "after": after, "version": version_id, "limit": limit},
    )


def _edges(tx: Transaction, row: Mapping[str, Any], *, up: bool, depth: int) -> list[dict[str, Any]]:
    return datasets.lineage(tx, row["id"], up=up, depth=depth, limit=EDGES_LIMIT)


def _named(principal: Principal, rows: Mapping[int, Mapping[str, Any]], edges: Sequence[tuple[int, int, int]]) -> list[dict[str, Any]]:
    named = []
    for made, of, depth in edges:
        if all(principal.can("dataset:read", rows[number]["project"]) for number in (made, of)):
            named.append({"depth": depth, "made": _short(rows[made]), "of": _short(rows[of])})
    return named


def _short(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "dataset": row["dataset"],
        "project": row["project"],
        "version": row["number"],
        "produced_by": row["produced_by"],
        "deleted": row["deleted_at"] is not None,
    }


def _part(tx: Transaction, principal: Principal, row: Mapping[str, Any], name: str) -> dict[str, Any]:
    part = datasets.part_named(tx, row["id"], name)
    if part is None:
        raise NotFound(f"version {row['number']} of {row['dataset']} has no part {name}", suggestion="bushel dataset parts NAME")
    return {
        "name": name,
        "digest": part["digest"],
        "records": part["records"],
        "bytes": part["size_bytes"],
        "sources": part["sources"],
        "attempt": _attempt(tx, principal, part["made_by"]),
    }


def _attempt(tx: Transaction, principal: Principal, made_by: Mapping[str, Any]) -> dict[str, Any]:
    """What the task said of itself, and what is known here of that attempt: the node, and the digest of its code."""
    told = {"site": made_by.get("site", ""), "cluster": made_by.get("cluster", "")}
    try:
        key = (decode_job_id(made_by["job"]), int(made_by["index"]), int(made_by["attempt"]))
    except (KeyError, ValueError):
        return told
    told["id"] = attempt_id(*key)
    row = tx.first(
        """
        select s.path as project, n.name as node, c.name as cluster, j.spec ->> 'workdir' as code, j.spec -> 'run' as run, a.ended_at
        from attempts a join jobs j on j.id = a.job_id join scopes s on s.id = j.project_id join clusters c on c.id = a.cluster_id
             left join nodes n on n.id = (a.placement -> 0 ->> 'node')::bigint
        where (a.job_id, a.index, a.number) = (%s, %s, %s)
        """,
        key,
    )
    if row is None or not principal.can("job:read", row["project"]):
        return told
    ended = row["ended_at"].isoformat() if row["ended_at"] else None
    return told | {"node": row["node"], "cluster": row["cluster"], "code": row["code"], "run": row["run"], "ended_at": ended}
