"""Sets of partitions: their names, in rows of 1,024, and where they have to stay.

Guarantees: a set never changes once it is made; what is read of it follows what is asked for, not its size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from psycopg.types.json import Jsonb

from bushel.domain.ranges import IndexRanges
from bushel.store.database import Transaction

CHUNK = 1024

_NAMES = """
    select n.set_id, n.index, p.names[n.index %% 1024 + 1] as name, p.digests[n.index %% 1024 + 1] as digest
    from unnest(%s::bigint[], %s::int[]) n (set_id, index) join partition_names p on p.set_id = n.set_id and p.chunk = n.index / 1024
"""

_FIND = """
    select p.chunk * 1024 + n.place - 1 as index, n.name from partition_names p, unnest(p.names) with ordinality n (name, place)
    where p.set_id = %s and n.name = any(%s)
"""


def make(
    tx: Transaction,
    project_id: int,
    names: Sequence[str],
    *,
    digests: Sequence[str | None] | None = None,
    sites: Mapping[str, IndexRanges] | None = None,
    windows: Mapping[str, Any] | None = None,
) -> int:
    """Write a set. `sites` says which indices may be worked on there alone."""
    texts = {site: ranges.to_postgres() for site, ranges in (sites or {}).items()}
    set_id = tx.one(
        "insert into partition_sets (project_id, count, sites, windows) values (%s, %s, %s, %s) returning id",
        (project_id, len(names), Jsonb(texts), None if windows is None else Jsonb(dict(windows))),
    )["id"]
    known = digests if digests is not None and any(digests) else None
    with tx.connection.cursor().copy("copy partition_names (set_id, chunk, names, digests) from stdin") as copy:
        for first in range(0, len(names), CHUNK):
            last = first + CHUNK
            copy.write_row((set_id, first // CHUNK, list(names[first:last]), None if known is None else list(known[first:last])))
    return set_id


def find(tx: Transaction, set_id: int) -> dict[str, Any]:
    """Count, sites (site → indices) and windows."""
    row = tx.one("select id, count, sites, windows from partition_sets where id = %s", (set_id,))
    row["sites"] = {site: IndexRanges.from_postgres(text) for site, text in row["sites"].items()}
    return row


def names(tx: Transaction, places: Iterable[tuple[int, int]]) -> dict[tuple[int, int], tuple[str, str | None]]:
    """Name and digest of each (set, index)."""
    wanted = list(places)
    if not wanted:
        return {}
    rows = tx.all(_NAMES, ([set_id for set_id, _ in wanted], [index for _, index in wanted]))
    return {(row["set_id"], row["index"]): (row["name"], row["digest"]) for row in rows}


def all_names(tx: Transaction, set_id: int) -> tuple[list[str], list[str | None]]:
    """Names and digests of a whole set."""
    texts: list[str] = []
    digests: list[str | None] = []
    for row in tx.all("select names, digests from partition_names where set_id = %s order by chunk", (set_id,)):
        texts += row["names"]
        digests += row["digests"] or [None] * len(row["names"])
    return texts, digests


def indices(tx: Transaction, set_id: int, wanted: Sequence[str]) -> dict[str, int]:
    """The index of each of these names that is in the set."""
    return {row["name"]: row["index"] for row in tx.all(_FIND, (set_id, list(wanted)))}
