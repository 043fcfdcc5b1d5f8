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
SOURCES_LIMIT = 500
"""Parts behind a part, however many steps away."""

_WITHIN = """
    select i.input_version_id as id from dataset_inputs i join dataset_version_parts p on p.version_id = i.input_version_id
    where i.version_id = %s and p.digests @> array[%s::bytea] limit 1
"""


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
        raise NotFound(
            f"version {row['number']} of {row['dataset']} has no part {name}", suggestion=f"bushel dataset parts {row['dataset']}"
        )
    return {
        "name": name,
        "digest": part["digest"],
        "records": part["records"],
        "bytes": part["size_bytes"],
        "sources": _sources(tx, principal, row, part, [SOURCES_LIMIT]),
        "attempt": _attempt(tx, principal, part["made_by"]),
    }


def _sources(
    tx: Transaction, principal: Principal, row: Mapping[str, Any], part: Mapping[str, Any], left: list[int]
) -> list[dict[str, Any]]:
    """What a part was made of, and what that was made of. `left` counts down over all of it."""
    found = []
    for source in part["sources"]:
        if left[0] <= 0:
            break
        left[0] -= 1
        version = _version_read(tx, principal, row, source)
        told = {name: source[name] for name in ("dataset", "version", "part") if source.get(name)}
        if version is not None:
            told |= {"dataset": version["dataset"], "version": version["number"]}
            behind = datasets.part_named(tx, version["id"], source["part"]) if source.get("part") else None
            if behind is not None:
                told["attempt"] = _attempt(tx, principal, behind["made_by"])
                told["sources"] = _sources(tx, principal, version, behind, left)
        found.append(told)
    return found


def _version_read(tx: Transaction, principal: Principal, row: Mapping[str, Any], source: Mapping[str, Any]) -> dict[str, Any] | None:
    """The version that a source was read from, among those that `row` was made of: so there is always an end."""
    if source["version"]:
        found = tx.first(
            """
            select v.id from dataset_inputs i join dataset_versions v on v.id = i.input_version_id join datasets d on d.id = v.dataset_id
            where i.version_id = %s and d.name = %s and v.number = %s
            """,
            (row["id"], source["dataset"], source["version"]),
        )
    elif source.get("digest"):
        found = tx.first(_WITHIN, (row["id"], bytes.fromhex(source["digest"].removeprefix("sha256:"))))
    else:
        return None
    version = datasets.versions_by_id(tx, [found["id"]])[found["id"]] if found else None
    return version if version is not None and principal.can("dataset:read", version["project"]) else None


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
