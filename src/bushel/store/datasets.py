"""Data sets and their versions as rows.

Guarantees: a version appears whole, with its parts, in the transaction that commits it, and is never changed after; two versions of
one data set with the same content cannot both exist. Parts are read chunk by chunk, so a page costs the same however far it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from psycopg.types.json import Jsonb

from bushel.store.database import Transaction

CHUNK_PARTS = 1024

_DATASET = """
    select d.*, s.path as project, p.name as creator
    from datasets d join scopes s on s.id = d.project_id join principals p on p.id = d.created_by
"""
_VERSION = """
    select v.id, v.dataset_id, v.number, v.digest, v.labels, v.schema, v.statistics, v.part_count, v.file_count, v.size_bytes,
           v.record_count, v.places, v.produced_by, v.committed_by, v.committed_at, v.written_places, v.manifest_due, v.withheld,
           v.deleted_at, d.name as dataset, d.project_id, s.path as project
    from dataset_versions v join datasets d on d.id = v.dataset_id join scopes s on s.id = d.project_id
"""


def find(tx: Transaction, project_ids: Collection[int], name: str) -> list[dict[str, Any]]:
    """Those of that name in these projects; two at most."""
    return tx.all(_DATASET + "where d.project_id = any(%s) and d.name = %s limit 2", (list(project_ids), name))


def by_id(tx: Transaction, dataset_id: int, *, lock: bool = False) -> dict[str, Any]:
    return tx.one(_DATASET + "where d.id = %s" + (" for update of d" if lock else ""), (dataset_id,))


def page(tx: Transaction, project_ids: Collection[int], prefix: str, after: tuple[str, int], limit: int) -> list[dict[str, Any]]:
    """By name, with what is current of each."""
    return tx.all(
        f"""
        select d.*, v.committed_at as current_at, v.part_count, v.file_count, v.size_bytes, v.record_count, v.labels as current_labels
        from ({_DATASET} where d.project_id = any(%s) and starts_with(d.name, %s) and (d.name, d.id) > (%s, %s)
              order by d.name, d.id limit %s) d
        left join dataset_versions v on v.dataset_id = d.id and v.number = d.current_number
        order by d.name, d.id
        """,
        (list(project_ids), prefix, *after, limit),
    )


def insert(tx: Transaction, project_id: int, name: str, place_ids: Sequence[int], created_by: int) -> int:
    """The number of the data set, made now or before."""
    tx.execute(
        "insert into datasets (project_id, name, place_ids, created_by) values (%s, %s, %s, %s) on conflict (project_id, name) do nothing",
        (project_id, name, list(place_ids), created_by),
    )
    return tx.one("select id from datasets where project_id = %s and name = %s", (project_id, name))["id"]


def change(tx: Transaction, dataset_id: int, change: Mapping[str, Any]) -> None:
    values = {"place_ids": None, "description": None, "released": None, "keep_versions": None, "keep_days": None, **change}
    values["labels"] = Jsonb(change["labels"]) if change.get("labels") is not None else None
    tx.execute(
        """
        update datasets
        set place_ids = coalesce(%(place_ids)s, place_ids), description = coalesce(%(description)s, description),
            labels = coalesce(%(labels)s, labels), released = coalesce(%(released)s, released),
            keep_versions = coalesce(%(keep_versions)s, keep_versions), keep_days = coalesce(%(keep_days)s, keep_days)
        where id = %(id)s
        """,
        values | {"id": dataset_id},
    )


# Versions ------------------------------------------------------------------------------------------------------------


def version(tx: Transaction, dataset_id: int, *, number: int | None = None, digest: bytes | None = None) -> dict[str, Any] | None:
    """By number, deleted or not; or the one that is there with this content."""
    if digest is not None:
        return tx.first(_VERSION + "where v.dataset_id = %s and v.digest = %s and v.deleted_at is null", (dataset_id, digest))
    return tx.first(_VERSION + "where v.dataset_id = %s and v.number = %s", (dataset_id, number))


def versions_by_id(tx: Transaction, ids: Collection[int]) -> dict[int, dict[str, Any]]:
    return {row["id"]: row for row in tx.all(_VERSION + "where v.id = any(%s)", (list(ids),))}


def version_page(tx: Transaction, dataset_id: int, before: int, limit: int) -> list[dict[str, Any]]:
    """The newest first; deleted ones are left out."""
    return tx.all(
        _VERSION + "where v.dataset_id = %s and v.number < %s and v.deleted_at is null order by v.number desc limit %s",
        (dataset_id, before, limit),
    )


def insert_version(tx: Transaction, dataset_id: int, row: Mapping[str, Any], *, withheld: bool = False) -> dict[str, Any]:
    """Its id and number. The data set's row is locked. `withheld`: it does not become the current one."""
    number = tx.one(
        "update datasets set version_count = version_count + 1, "
        "current_number = case when %s then current_number else version_count + 1 end where id = %s returning version_count",
        (withheld, dataset_id),
    )["version_count"]
    return tx.one(
        """
        insert into dataset_versions (dataset_id, number, digest, labels, schema, statistics, part_count, file_count, size_bytes,
                                      record_count, places, produced_by, committed_by, withheld)
        values (%(dataset)s, %(number)s, %(digest)s, %(labels)s, %(schema)s, %(statistics)s, %(parts)s, %(files)s, %(bytes)s, %(records)s,
                %(places)s, %(produced_by)s, %(committed_by)s, %(withheld)s)
        returning id, number
        """,
        {
            **row["counts"],
            **{name: Jsonb(row[name]) for name in ("labels", "schema", "statistics", "places", "produced_by")},
            "dataset": dataset_id,
            "number": number,
            "digest": row["digest"],
            "committed_by": row["committed_by"],
            "withheld": withheld,
        },
    )


def make_current(tx: Transaction, dataset_id: int, number: int) -> None:
    tx.execute("update datasets set current_number = %s where id = %s", (number, dataset_id))
    tx.execute("update dataset_versions set withheld = false where dataset_id = %s and number = %s and withheld", (dataset_id, number))


def publish(tx: Transaction, project_id: int, name: str, number: int) -> bool:
    """Make a version that was withheld the current one, if it is still there. Whether it was."""
    row = tx.first(
        "select d.id from datasets d join dataset_versions v on v.dataset_id = d.id "
        "where d.project_id = %s and d.name = %s and v.number = %s and v.withheld and v.deleted_at is null for update of d",
        (project_id, name, number),
    )
    if row is not None:
        make_current(tx, row["id"], number)
    return row is not None


_PART_COLUMNS = ("names", "digests", "place_ids", "files", "sizes", "records", "made_by", "sources")


def insert_parts(tx: Transaction, version_id: int, parts: Sequence[Sequence[Any]]) -> None:
    """`parts` are (name, digest, place, files, bytes, records, made_by, sources) in order."""
    columns = ", ".join(_PART_COLUMNS)
    with (
        tx.connection.cursor() as cursor,
        cursor.copy(f"copy dataset_version_parts (version_id, chunk, {columns}) from stdin (format binary)") as copy,
    ):
        copy.set_types(["int8", "int4", "text[]", "bytea[]", "int8[]", "int4[]", "int8[]", "int8[]", "jsonb", "jsonb"])
        for first in range(0, len(parts), CHUNK_PARTS):
            *lists, made_by, sources = (list(column) for column in zip(*parts[first : first + CHUNK_PARTS], strict=True))
            copy.write_row((version_id, first // CHUNK_PARTS, *lists, Jsonb(made_by), Jsonb(sources)))


def parts(tx: Transaction, version_id: int, first: int = 0, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """From position `first` on: name, digest, place_id, files, size_bytes, records, made_by, sources."""
    position, left = first, limit
    while left is None or left > 0:
        row = tx.first("select * from dataset_version_parts where version_id = %s and chunk = %s", (version_id, position // CHUNK_PARTS))
        offset = position % CHUNK_PARTS
        if row is None or offset >= len(row["names"]):
            return
        for values in list(zip(*(row[name] for name in _PART_COLUMNS), strict=True))[offset : None if left is None else offset + left]:
            yield _part(values)
            position += 1
            left = None if left is None else left - 1


def digests(tx: Transaction, version_id: int) -> dict[str, str]:
    """Name → digest of every part, without the rest."""
    rows = tx.all("select names, digests from dataset_version_parts where version_id = %s order by chunk", (version_id,))
    return {name: f"sha256:{bytes(digest).hex()}" for row in rows for name, digest in zip(row["names"], row["digests"], strict=True)}


def part_named(tx: Transaction, version_id: int, name: str) -> dict[str, Any] | None:
    row = tx.first("select * from dataset_version_parts where version_id = %s and %s = any(names)", (version_id, name))
    if row is None:
        return None
    at = row["names"].index(name)
    return _part([row[column][at] for column in _PART_COLUMNS])


def _part(values: Sequence[Any]) -> dict[str, Any]:
    names = ("name", "digest", "place_id", "files", "size_bytes", "records", "made_by", "sources")
    part: dict[str, Any] = dict(zip(names, values, strict=True))
    part["digest"] = f"sha256:{bytes(part['digest']).hex()}"
    return part


def delete_version(tx: Transaction, version_id: int) -> None:
    """Its row stays, for lineage; its parts are no longer wanted by it."""
    tx.execute("update dataset_versions set deleted_at = now(), manifest_due = false where id = %s and deleted_at is null", (version_id,))
    tx.execute("delete from dataset_version_parts where version_id = %s", (version_id,))
    tx.execute(
        """
        update datasets d
        set current_number = (
            select max(number) from dataset_versions v where v.dataset_id = d.id and v.deleted_at is null and not v.withheld
        )
        from dataset_versions gone
        where gone.id = %s and d.id = gone.dataset_id and d.current_number = gone.number
        """,
        (version_id,),
    )


# Lineage, pins -------------------------------------------------------------------------------------------------------


def insert_inputs(tx: Transaction, version_id: int, input_ids: Collection[int]) -> None:
    tx.execute(
        "insert into dataset_inputs (version_id, input_version_id) select %s, unnest(%s::bigint[]) on conflict do nothing",
        (version_id, list(input_ids)),
    )


_WALK = """
    with recursive walk as (
        select {to} as id, {of} as from_id, 1 as depth from dataset_inputs where {of} = %(start)s
        union
        select i.{to}, i.{of}, depth + 1 from dataset_inputs i join walk w on i.{of} = w.id where depth < %(depth)s
    )
    select id, from_id, min(depth) as depth from walk group by id, from_id order by depth, id limit %(limit)s
"""


def lineage(tx: Transaction, version_id: int, *, up: bool, depth: int, limit: int) -> list[dict[str, Any]]:
    """Edges, nearest first: `from_id` was made of `id` (up), or `id` was made of `from_id` (down)."""
    query = _WALK.format(to="input_version_id", of="version_id") if up else _WALK.format(to="version_id", of="input_version_id")
    return tx.all(query, {"start": version_id, "depth": depth, "limit": limit})


def pin(tx: Transaction, version_id: int, consumer: str, reason: str, pinned_by: int) -> bool:
    """Whether it was not pinned by this consumer before."""
    row = tx.first(
        """
        insert into dataset_pins (version_id, consumer, reason, pinned_by) values (%s, %s, %s, %s)
        on conflict (version_id, consumer) do update set reason = excluded.reason
        returning xmax = 0 as added
        """,
        (version_id, consumer, reason, pinned_by),
    )
    return bool(row and row["added"])


def unpin(tx: Transaction, version_id: int, consumer: str) -> bool:
    return (
        tx.first("delete from dataset_pins where version_id = %s and consumer = %s returning 1 as gone", (version_id, consumer)) is not None
    )


def pins(tx: Transaction, dataset_id: int, after: tuple[int, str] = (0, ""), limit: int = 1000) -> list[dict[str, Any]]:
    """In the order of versions and consumers."""
    return tx.all(
        """
        select v.number as version, x.consumer, x.reason, p.name as pinned_by, x.pinned_at
        from dataset_pins x join dataset_versions v on v.id = x.version_id join principals p on p.id = x.pinned_by
        where v.dataset_id = %s and (v.number, x.consumer) > (%s, %s)
        order by v.number, x.consumer limit %s
        """,
        (dataset_id, *after, limit),
    )


def consumers(tx: Transaction, version_id: int) -> list[str]:
    rows = tx.all("select consumer from dataset_pins where version_id = %s order by consumer limit 20", (version_id,))
    return [row["consumer"] for row in rows]
