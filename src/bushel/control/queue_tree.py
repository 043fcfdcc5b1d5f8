"""The tree of queues with what each is entitled to, guaranteed, uses, lends and borrows, and from whom.

Guarantees: the shares are those that the scheduler's own plan found, over a snapshot of the same rows. What a queue borrows adds up,
loan by loan. Queues that the caller may not see are neither named nor told apart. Nothing is written, no lock is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np

from bushel.control.explain import explainer_of
from bushel.domain.principal import Principal
from bushel.domain.resources import CPU, GPU_PREFIX
from bushel.scheduling.fairness import Share, Shares
from bushel.scheduling.fleet import Integers
from bushel.scheduling.lines import Lines
from bushel.scheduling.quota import GPU_OF_ANY_MODEL
from bushel.spec.queue_tree import LoanView, QueueShareView, QueueTreeView, ShareView
from bushel.store import queues as store
from bushel.store.database import Database

QUEUES_LIMIT = 10_000

Source = Literal["queue", "others", "parent", "unpromised"]

_Loan = tuple[Source, int | None, int]
"""Source, the lending queue, amount."""


def queue_tree(database: Database, principal: Principal) -> QueueTreeView:
    """Of the queues at, above or below places that the principal may read."""
    with database.transaction() as tx:
        rows = {row["id"]: row for row in store.listed(tx, principal.paths("queue:read"), "", QUEUES_LIMIT)}
    with explainer_of(database).planned() as (made, now):
        waiting = _waiting(made.snapshot.lines)
        items = [_view(made.shares, rows, row, depth, waiting.get(row["id"], 0)) for row, depth in _in_order(rows)]
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


def _view(shares: Shares, rows: Mapping[int, Mapping[str, Any]], row: Mapping[str, Any], depth: int, waiting: int) -> QueueShareView:
    known = shares.of(row["id"]) if row["id"] in shares.rows else {}
    return QueueShareView(
        name=row["name"],
        scope=row["scope"],
        parent=row["parent"] if row["parent_id"] in rows else None,
        depth=depth,
        weight=row["weight"],
        waiting=waiting,
        shares=[_share(name, known[name]) for name in sorted(known, key=_rank)],
        borrows=[
            LoanView(resource=name, source=source, lender=None if lender is None else rows[lender]["name"], amount=amount)
            for name in sorted(known, key=_rank)
            for source, lender, amount in _seen(loans_of(shares, row["id"], name), name, rows)
        ],
    )


def loans_of(shares: Shares, queue_id: int, resource: str) -> list[_Loan]:
    """Where what it borrows comes from, in smallest units: its siblings lend in the proportion of what they lend, rounded down."""
    tree, column = shares.tree, shares.columns[resource]
    row = shares.rows[queue_id]
    wanted = int(shares.borrowed[row, column])
    if not wanted:
        return []
    parent = int(tree.parent[row])
    siblings = _children(tree.first_child, tree.next_sibling, parent)
    taken = sum(int(shares.borrowed[sibling, column]) for sibling in siblings)
    beyond = int(shares.borrowed[parent, column]) if parent else 0
    queue_of = {number: known for known, number in shares.rows.items()}
    loans: list[_Loan] = []
    for sibling in siblings:
        lent = int(shares.lent[sibling, column])
        if part := min(wanted, lent * wanted // taken):
            loans.append(("queue", queue_of.get(sibling, -1), part))
    rest = wanted - sum(part for _, _, part in loans)
    above = min(rest, beyond * wanted // taken)
    if above:
        loans.append(("parent", None, above))
    if rest > above:
        loans.append(("unpromised", None, rest - above))
    return loans


def _children(first_child: Integers, next_sibling: Integers, row: int) -> list[int]:
    found: list[int] = []
    child = int(first_child[row])
    while child >= 0:
        found.append(child)
        child = int(next_sibling[child])
    return found


def _seen(loans: list[_Loan], resource: str, rows: Mapping[int, Mapping[str, Any]]) -> list[tuple[Source, int | None, float]]:
    """In units of documents; those of queues that are not seen as one."""
    seen: list[tuple[Source, int | None, float]] = [
        (source, lender, in_units(resource, part)) for source, lender, part in loans if source != "queue" or lender in rows
    ]
    hidden = sum(part for source, lender, part in loans if source == "queue" and lender not in rows)
    if hidden:
        seen.append(("others", None, in_units(resource, hidden)))
    return seen


def _share(resource: str, share: Share) -> ShareView:
    amounts = (in_units(resource, amount) for amount in (share.entitled, share.guaranteed, share.used, share.lent, share.borrowed))
    entitled, guaranteed, used, lent, borrowed = amounts
    return ShareView(resource=resource, entitled=entitled, guaranteed=guaranteed, used=used, lent=lent, borrowed=borrowed)


def in_units(resource: str, amount: int) -> float:
    """CPUs and accelerators are counted in thousandths."""
    if resource in (CPU, GPU_OF_ANY_MODEL) or resource.startswith(GPU_PREFIX):
        return amount // 1000 if amount % 1000 == 0 else amount / 1000
    return amount


def _rank(resource: str) -> tuple[int, str]:
    return {CPU: 1, "memory": 2, "disk": 3}.get(resource, 0), resource
