"""The tree of queues with what each is entitled to, guaranteed, uses, lends and borrows, and from whom.

Guarantees: the shares are those that the scheduler's own plan found, over a snapshot of the same rows. What a queue borrows adds up,
loan by loan. Queues that the caller may not see are neither named nor told apart. Nothing is written, no lock is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bushel.control.explain import explainer_of
from bushel.domain.principal import Principal
from bushel.domain.resources import CPU, GPU_PREFIX
from bushel.scheduling.fairness import Share, Shares
from bushel.scheduling.fairness.lenders import Loan, loans_of
from bushel.scheduling.lines import Lines
from bushel.scheduling.quota import GPU_OF_ANY_MODEL
from bushel.spec.queue_tree import LoanView, QueueShareView, QueueTreeView, ShareView
from bushel.store import queues as store
from bushel.store.database import Database

QUEUES_LIMIT = 10_000


def queue_tree(database: Database, principal: Principal) -> QueueTreeView:
    """Of the queues at, above or below places that the principal may read."""
    with database.transaction() as tx:
        rows = {row["id"]: row for row in store.listed(tx, principal.paths("queue:read"), "", QUEUES_LIMIT)}
    with explainer_of(database).planned() as (made, now):
        waiting = _waiting(made.snapshot.lines)
        loans = {name: loans_of(made.shares, name) for name in sorted(made.shares.columns, key=_rank)}
        items = [_view(made.shares, loans, rows, row, depth, waiting.get(row["id"], 0)) for row, depth in _in_order(rows)]
    return QueueTreeView(items=items, as_of=now.isoformat())


def _in_order(rows: Mapping[int, Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], int]]:
    """Each queue before those below it, siblings by name."""
    below: dict[int | None, list[Mapping[str, Any]]] = {}
    for row in sorted(rows.values(), key=lambda row: row["name"], reverse=True):
        below.setdefault(row["parent_id"] if row["parent_id"] in rows else None, []).append(row)
    left = [(row, 0) for row in below.get(None, ())]
    while left:
        row, depth = left.pop()
        yield row, depth
        left += [(child, depth + 1) for child in below.get(row["id"], ())]


def _waiting(lines: Lines) -> dict[int, int]:
    found: dict[int, int] = {}
    for number in np.flatnonzero(lines.elements[: lines.count]).tolist():
        queue_id = int(lines.queue_ids[number])
        found[queue_id] = found.get(queue_id, 0) + int(lines.elements[number])
    return found


def _view(
    shares: Shares,
    loans: Mapping[str, Mapping[int, list[Loan]]],
    rows: Mapping[int, Mapping[str, Any]],
    row: Mapping[str, Any],
    depth: int,
    waiting: int,
) -> QueueShareView:
    known = shares.of(row["id"]) if row["id"] in shares.rows else {}
    settings = [row[name] for name in ("resource_quota", "lending", "borrowing")]
    return QueueShareView(
        name=row["name"],
        scope=row["scope"],
        parent=row["parent"] if row["parent_id"] in rows else None,
        depth=depth,
        weight=row["weight"],
        waiting=waiting,
        shares=[_share(name, known[name], settings) for name in sorted(known, key=_rank)],
        borrows=[loan for name, by_queue in loans.items() for loan in _loans(name, by_queue.get(row["id"], []), rows)],
    )


def _loans(resource: str, loans: list[Loan], rows: Mapping[int, Mapping[str, Any]]) -> Iterator[LoanView]:
    """Those of queues that are not seen as one."""
    hidden = 0
    for loan in loans:
        if loan.lender_id is not None and loan.lender_id not in rows:
            hidden += loan.amount
        else:
            lender = None if loan.lender_id is None else rows[loan.lender_id]["name"]
            yield LoanView(resource=resource, source=loan.source, lender=lender, amount=in_units(resource, loan.amount))
    if hidden:
        yield LoanView(resource=resource, source="others", lender=None, amount=in_units(resource, hidden))


def _share(resource: str, share: Share, settings: list[Mapping[str, int]]) -> ShareView:
    amounts = (in_units(resource, amount) for amount in (share.entitled, share.guaranteed, share.used, share.lent, share.borrowed))
    entitled, guaranteed, used, lent, borrowed = amounts
    limit, lending, borrowing = (in_units(resource, amounts[resource]) if resource in amounts else None for amounts in settings)
    return ShareView(
        resource=resource,
        entitled=entitled,
        guaranteed=guaranteed,
        used=used,
        lent=lent,
        borrowed=borrowed,
        limit=limit,
        lending=lending,
        borrowing=borrowing,
    )


def in_units(resource: str, amount: int) -> float:
    """CPUs and accelerators are counted in thousandths."""
    if resource in (CPU, GPU_OF_ANY_MODEL) or resource.startswith(GPU_PREFIX):
        return amount // 1000 if amount % 1000 == 0 else amount / 1000
    return amount


def _rank(resource: str) -> tuple[int, str]:
    return {CPU: 1, "memory": 2, "disk": 3}.get(resource, 0), resource
