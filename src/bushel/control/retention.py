"""Keeping the events bounded: partitions ahead of time, and the ones past retention dropped.

Guarantees: an event is kept for at least `retention_days`; a partition is dropped whole, and in the same transaction the
position of its last event becomes the horizon, so a watch that would have missed something is told so (410) instead.
Idempotency keys and audit rows are not touched: both are kept for ever, as a lost answer can be asked for again for ever.
"""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, timedelta

from psycopg import sql

from bushel.domain.failpoints import reach
from bushel.store.database import Database, Transaction
from bushel.store.leases import Lease

RETENTION_DAYS = 30
WEEKS_AHEAD = 8
_PREFIX = "events_"

log = logging.getLogger("bushel.control")


def step(database: Database, lease: Lease, *, retention_days: int = RETENTION_DAYS) -> int:
    """How many partitions were made or dropped; each in a transaction of its own, so that no lock on the events is held for long."""
    with database.transaction() as tx:
        today = tx.now.astimezone(UTC).date()
        there = dict(_partitions(tx))
    changed = 0
    this_monday = today - timedelta(days=today.weekday())
    for week in range(WEEKS_AHEAD + 1):
        monday = this_monday + timedelta(weeks=week)
        if monday not in there.values():
            _make(database, lease, monday)
            changed += 1
    for name, monday in sorted(there.items()):
        if monday + timedelta(weeks=1, days=retention_days) <= today:
            _drop(database, lease, name)
            changed += 1
    return changed


def _partitions(tx: Transaction) -> list[tuple[str, date]]:
    rows = tx.all("select relname from pg_inherits join pg_class on pg_class.oid = inhrelid where inhparent = 'events'::regclass")
    return [(row["relname"], datetime.strptime(row["relname"].removeprefix(_PREFIX), "%Y%m%d").date()) for row in rows]  # noqa: DTZ007


def _make(database: Database, lease: Lease, monday: date) -> None:
    with database.transaction() as tx:
        lease.require(tx)
        tx.execute("set local lock_timeout = '2s'")  # writers queue behind this lock request: give up rather than hold them
        tx.execute("select make_event_partitions(%s, 1)", (monday,))


def _drop(database: Database, lease: Lease, name: str) -> None:
    with database.transaction() as tx:
        lease.require(tx)
        tx.execute("set local lock_timeout = '2s'")
        last = tx.first(
            sql.SQL("select written_by, id from {} order by written_by desc, id desc limit 1").format(sql.Identifier(name)).as_string()
        )
        if last is not None:
            tx.execute(
                """
                update event_horizon set written_by = %(xid)s::xid8, id = %(id)s
                where (written_by, id) < (%(xid)s::xid8, %(id)s)
                """,
                {"xid": last["written_by"], "id": last["id"]},
            )
        tx.execute(sql.SQL("drop table {}").format(sql.Identifier(name)).as_string())
        reach("retention.before_drop_commit")
    log.info("dropped the events of partition=%s, past their retention", name)
