"""Reading the audit log. Rows are written by `Transaction.audit` and never changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from bushel.store.database import Transaction

_LIST = """
    select a.id, a.at, p.name as principal, a.token_id, a.action, a.object, a.scope_path as scope, a.request_id, a.detail
    from audit a join principals p on p.id = a.principal_id
    where exists (select 1 from unnest(%(paths)s::text[]) mine where a.scope_path = mine or starts_with(a.scope_path, mine || '/'))
      and a.id < %(before_id)s
      and (%(principal)s::text is null or p.name = %(principal)s)
      and (%(action)s::text is null or a.action = %(action)s)
      and (%(since)s::timestamptz is null or a.at >= %(since)s)
      and (%(before)s::timestamptz is null or a.at < %(before)s)
    order by a.id desc limit %(limit)s
"""


def listed(
    tx: Transaction,
    paths: Sequence[str],
    *,
    principal: str | None,
    action: str | None,
    since: datetime | None,
    before: datetime | None,
    before_id: int,
    limit: int,
) -> list[dict[str, Any]]:
    """What was done at or below `paths`, the newest first."""
    return tx.all(
        _LIST,
        {
            "paths": list(paths),
            "principal": principal,
            "action": action,
            "since": since,
            "before": before,
            "before_id": before_id,
            "limit": limit,
        },
    )
