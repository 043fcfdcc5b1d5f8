"""What queues use now, and what is kept of what they used before.

Guarantees: all rows of a queue are of one moment; a queue that uses nothing costs no write, for what is kept of it fades by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bushel.store.database import Transaction

_HELD = """
    select a.queue_id, amount.key as resource,
           sum(amount.value::bigint * ((part -> 'ranks' ->> 1)::int - (part -> 'ranks' ->> 0)::int))::double precision as held
    from attempts a join queues q on q.id = a.queue_id, jsonb_array_elements(a.placement) part, jsonb_each_text(part -> 'amounts') amount
    where a.state <> 'ended' group by 1, 2
"""

_WRITE = """
    insert into queue_use (queue_id, resource, resource_seconds, as_of)
    select n.queue_id, n.resource, n.resource_seconds, now()
    from unnest(%s::bigint[], %s::text[], %s::double precision[]) n (queue_id, resource, resource_seconds)
    on conflict (queue_id, resource) do update set resource_seconds = excluded.resource_seconds, as_of = excluded.as_of
"""


def held(tx: Transaction) -> dict[int, dict[str, float]]:
    """What the live attempts of each queue hold, by resource, in smallest units."""
    found: dict[int, dict[str, float]] = {}
    for row in tx.all(_HELD):
        found.setdefault(row["queue_id"], {})[row["resource"]] = row["held"]
    return found


def last_written(tx: Transaction) -> datetime | None:
    return tx.one("select max(as_of) as at from queue_use")["at"]


def kept(tx: Transaction, queue_ids: list[int]) -> list[dict[str, Any]]:
    """Of these queues: `amounts` by resource, and since 1970 the `seconds` that they are of."""
    query = """
        select queue_id, jsonb_object_agg(resource, resource_seconds) as amounts,
               extract(epoch from max(as_of))::double precision as seconds
        from queue_use where queue_id = any(%s) group by queue_id
    """
    return tx.all(query, (queue_ids,))


def write(tx: Transaction, used: Mapping[int, Mapping[str, float]]) -> None:
    """Keep this of these queues, as of now."""
    rows = [(queue_id, resource, amount) for queue_id, amounts in sorted(used.items()) for resource, amount in sorted(amounts.items())]
    if rows:
        tx.execute(_WRITE, [list(column) for column in zip(*rows, strict=True)])


def forget(tx: Transaction, before: datetime) -> None:
    """Drop what is older than this, and so has faded."""
    tx.execute("delete from queue_use where as_of < %s", (before,))
