"""The tree of queues: what the API answers. Amounts are in the units of documents: CPUs, bytes, accelerators."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict


class ShareView(TypedDict):
    """Of one resource, the queues below included. `limit`, `lending` and `borrowing` are set for the queue itself; null: not bounded."""

    resource: str
    entitled: float
    guaranteed: float
    used: float
    lent: float
    borrowed: float
    limit: float | None
    lending: float | None
    borrowing: float | None


class LoanView(TypedDict):
    """`amount` of what a queue uses beyond its guarantee, and where it comes from.

    `source` says what it is: another `queue`, which `lender` names; `others` that the caller may not see; what the `parent` has
    beyond its own guarantee; or what is `unpromised`, guaranteed to nobody.
    """

    resource: str
    source: Literal["queue", "others", "parent", "unpromised"]
    lender: str | None
    amount: float


class QueueShareView(TypedDict):
    """`depth` counts the queues above it that the caller may see. `waiting` are the elements that could start but for room or quota."""

    name: str
    scope: str
    parent: str | None
    depth: int
    weight: int
    waiting: int
    shares: list[ShareView]
    borrows: list[LoanView]


class QueueTreeView(TypedDict):
    """Each queue before those below it."""

    items: list[QueueShareView]
    as_of: str
