"""What a task of a stage wrote of what it came to: outputs, records that were set aside, partitions that it lists.

Guarantees: it is written in the transaction that ends the element, so it is never of an attempt that does not count; whatever a task or
an agent sends, what is kept is bounded and is text that can be stored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from bushel.domain.foreign import clean_value
from bushel.store.attempts import AttemptKey
from bushel.store.database import Transaction

LONGEST_BODY_BYTES = 96 * 1024
LONGEST_NAMES = 6 * 1024 * 1024

ResultRow = tuple[int, int, int, Jsonb | None, str | None, int]
"""Job, index, attempt, body, names, how many records were set aside."""

_WRITE = """
    insert into element_results (job_id, index, attempt, body, names, bad_count)
    select * from unnest(%s::bigint[], %s::int[], %s::int[], %s::jsonb[], %s::text[], %s::bigint[])
    on conflict (job_id, index) do nothing
"""


@dataclass(frozen=True, slots=True)
class TaskResult:
    body: dict[str, Any] | None
    names: str | None

    def row(self, key: AttemptKey, *, succeeded: bool) -> ResultRow:
        """Of one that failed only what it said of its records is kept."""
        body = self.body if succeeded else {name: value for name, value in (self.body or {}).items() if name == "records"}
        return (*key, Jsonb(body) if body else None, self.names if succeeded else None, _bad_count(body))


def parse_result(said: Any) -> TaskResult | None:
    """None where there is nothing that can be kept."""
    if not isinstance(said, Mapping):
        return None
    body, names = said.get("body"), said.get("names")
    body = clean_value(body) if isinstance(body, dict) else None
    if body is not None and len(json.dumps(body)) > LONGEST_BODY_BYTES:
        body = None
    names = names if isinstance(names, str) and len(names) <= LONGEST_NAMES and names.isascii() and names.isprintable() else None
    return None if body is None and names is None else TaskResult(body, names)


def write_results(tx: Transaction, rows: Sequence[ResultRow]) -> None:
    if rows:
        tx.execute(_WRITE, [list(column) for column in zip(*rows, strict=True)])


def _bad_count(body: Mapping[str, Any] | None) -> int:
    records = (body or {}).get("records")
    bad = records.get("bad") if isinstance(records, Mapping) else None
    return bad if type(bad) is int and 0 <= bad < 2**53 else 0
