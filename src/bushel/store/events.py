"""Reading events in the order in which their transactions became visible.

Guarantees: a reader that goes on from the last `Position` it was given sees every event exactly once, also when a
transaction commits long after others with higher event ids or higher transaction ids. A sequence alone cannot promise
that; so events are ordered by (transaction id, event id), and reading stops before the oldest transaction still running:
nothing with a smaller position can appear any more. One slow transaction therefore delays readers; it never makes them skip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bushel.domain.errors import Gone
from bushel.store.database import Transaction

SCAN_LIMIT = 20_000
"""Most rows that one call looks at for a filter that no index serves; what follows is left to the next call."""

_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Just behind one event. Positions compare in reading order; the text form is public and opaque."""

    xid: int
    id: int

    def __str__(self) -> str:
        return f"{self.xid}-{self.id}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """
        Raises:
            ValueError: the text is no position.
        """
        xid, dash, event_id = text.partition("-")
        for digits in (xid, event_id):
            if not (dash and digits.isascii() and digits.isdigit() and len(digits) <= 19 and int(digits) <= _LARGEST):
                raise ValueError(f"{text!r} is not a position in the events")
        return cls(int(xid), int(event_id))


START = Position(0, 0)
"""Before the oldest event that is kept."""


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event as it lies in the store."""

    position: Position
    at: datetime
    kind: str
    scope_path: str
    job_id: int | None
    object: str
    actor: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events; everything named must hold, nothing named is all of them.

    `scope_paths` are roots of subtrees (None: no limit, for readers inside the control plane). `kinds` are whole kinds
    (`job.failed`) or families (`job.`, with the dot).
    """

    scope_paths: tuple[str, ...] | None = None
    job_id: int | None = None
    kinds: tuple[str, ...] = ()

    def admits(self, event: RecordedEvent) -> bool:
        """The same decision as the SQL, for an event already read."""
        if self.job_id is not None and event.job_id != self.job_id:
            return False
        if self.kinds and not any(event.kind == kind or (kind.endswith(".") and event.kind.startswith(kind)) for kind in self.kinds):
            return False
        return self.scope_paths is None or any(within(event.scope_path, root) for root in self.scope_paths)


EVERY_EVENT = EventFilter()


def within(path: str, root: str) -> bool:
    """Whether `path` is `root` or lies under it."""
    return path == root or path.startswith(root + "/")


@dataclass(frozen=True, slots=True)
class EventBatch:
    """`position` is where to go on, past events that the filter left out too; `more` says that there is more to read now."""

    events: list[RecordedEvent]
    position: Position
    more: bool


_COLUMNS = "written_by::text::bigint as xid, id, at, kind, scope_path, job_id, object, actor, body"

_SETTLED = "written_by < pg_snapshot_xmin(pg_current_snapshot())"  # nothing older can still appear

_FRONTIER = "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint as xid"


def current_position(tx: Transaction) -> Position:
    """Behind everything that can be read now. Take it first, then list: what the list missed comes after it."""
    return Position(tx.one(_FRONTIER)["xid"], 0)


def unsettled(tx: Transaction) -> bool:
    """Whether there are committed events that wait for an older transaction; worth another look very soon."""
    return tx.one("select exists(select from events where written_by >= pg_snapshot_xmin(pg_current_snapshot())) as waits")["waits"]


def read_after(tx: Transaction, position: Position, limit: int, filters: EventFilter = EVERY_EVENT) -> EventBatch:
    """The next events behind `position`, at most `limit`, in commit order."""
    wanted, parameters = _conditions(filters)
    indexed = filters.job_id is not None
    scan_limit = limit if not wanted or indexed else max(limit, SCAN_LIMIT)
    source = "job_id = %(job_id)s and " if indexed else ""
    rows = tx.all(
        f"""
        select *, frontier.xid as frontier
        from (select pg_snapshot_xmin(pg_current_snapshot())::text::bigint as xid) frontier
        left join lateral (
            select {_COLUMNS} from (
                select * from events
                where {source}(written_by, id) > (%(xid)s::xid8, %(id)s) and {_SETTLED}
                order by written_by, id
                {"" if indexed else "limit %(scan_limit)s"}
            ) scanned
            where {wanted or "true"}
            order by written_by, id
            limit %(limit)s
        ) found (event_xid, id, at, kind, scope_path, job_id, object, actor, body) on true
        """,
        {**parameters, "xid": str(position.xid), "id": position.id, "scan_limit": scan_limit, "limit": limit},
    )
    events = [_recorded(row) for row in rows if row["id"] is not None]
    if len(events) == limit:
        return EventBatch(events, events[-1].position, more=True)
    frontier = rows[0]["frontier"]
    if wanted and not indexed and (last := _last_scanned(tx, position, frontier, scan_limit)) is not None:
        return EventBatch(events, last, more=True)
    return EventBatch(events, max(position, Position(frontier, 0)), more=False)


def read_before(tx: Transaction, position: Position | None, limit: int, filters: EventFilter = EVERY_EVENT) -> EventBatch:
    """The newest `limit` events ahead of `position` (None: of all), newest first; for people who look back.

    `position` of the answer is where to go on looking back.
    """
    bound = position or current_position(tx)
    wanted, parameters = _conditions(filters)
    indexed = filters.job_id is not None
    scan_limit = limit if not wanted or indexed else max(limit, SCAN_LIMIT)
    rows = tx.all(
        f"""
        select {_COLUMNS} from (
            select * from events
            where {"job_id = %(job_id)s and " if indexed else ""} (written_by, id) < (%(xid)s::xid8, %(id)s) and {_SETTLED}
            order by written_by desc, id desc
            {"" if indexed else "limit %(scan_limit)s"}
        ) scanned
        where {wanted or "true"}
        order by written_by desc, id desc
        limit %(limit)s
        """,
        {**parameters, "xid": str(bound.xid), "id": bound.id, "scan_limit": scan_limit, "limit": limit},
    )
    events = [_recorded({**row, "event_xid": row["xid"]}) for row in rows]
    if len(events) == limit:
        return EventBatch(events, events[-1].position, more=True)
    if wanted and not indexed and (last := _last_scanned_before(tx, bound, scan_limit)) is not None:
        return EventBatch(events, last, more=True)
    return EventBatch(events, START, more=False)


def oldest_kept(tx: Transaction) -> Position:
    """Everything behind this position is still there; at or ahead of it, retention may have dropped some."""
    row = tx.one("select written_by::text::bigint as xid, id from event_horizon")
    return Position(row["xid"], row["id"])


def require_kept(tx: Transaction, position: Position) -> None:
    """
    Raises:
        Gone: events behind `position` were dropped by retention.
    """
    if position < oldest_kept(tx):
        raise Gone(
            f"events behind {position} are no longer kept",
            suggestion="list the objects again, then watch from the position of the list",
        )


def _last_scanned(tx: Transaction, position: Position, frontier: int, scan_limit: int) -> Position | None:
    """The row at which the scan stopped for its limit. Ahead of that scan's own frontier no row can have appeared since."""
    row = tx.first(
        """
        select written_by::text::bigint as xid, id from events
        where (written_by, id) > (%s::xid8, %s) and written_by < %s::xid8
        order by written_by, id
        offset %s limit 1
        """,
        (str(position.xid), position.id, str(frontier), scan_limit - 1),
    )
    return None if row is None else Position(row["xid"], row["id"])


def _last_scanned_before(tx: Transaction, bound: Position, scan_limit: int) -> Position | None:
    row = tx.first(
        """
        select written_by::text::bigint as xid, id from events
        where (written_by, id) < (%s::xid8, %s)
        order by written_by desc, id desc
        offset %s limit 1
        """,
        (str(bound.xid), bound.id, scan_limit - 1),
    )
    return None if row is None else Position(row["xid"], row["id"])


def _conditions(filters: EventFilter) -> tuple[str, dict[str, Any]]:
    conditions: list[str] = []
    parameters: dict[str, Any] = {}
    if filters.job_id is not None:
        conditions.append("job_id = %(job_id)s")
        parameters["job_id"] = filters.job_id
    if filters.kinds:
        conditions.append("kind like any(%(kinds)s::text[])")
        parameters["kinds"] = [_like(kind) + ("%" if kind.endswith(".") else "") for kind in filters.kinds]
    if filters.scope_paths is not None:
        conditions.append("(scope_path = any(%(paths)s::text[]) or scope_path like any(%(subtrees)s::text[]))")
        parameters["paths"] = list(filters.scope_paths)
        parameters["subtrees"] = [_like(path) + "/%" for path in filters.scope_paths]
    return " and ".join(conditions), parameters


def _like(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _recorded(row: Mapping[str, Any]) -> RecordedEvent:
    return RecordedEvent(
        position=Position(row["event_xid"], row["id"]),
        at=row["at"],
        kind=row["kind"],
        scope_path=row["scope_path"],
        job_id=row["job_id"],
        object=row["object"],
        actor=row["actor"],
        body=row["body"],
    )
