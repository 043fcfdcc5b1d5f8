"""Events are kept as long as promised, and there is always a partition for the next ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bushel.control import retention
from bushel.domain.errors import Gone
from bushel.store.database import Database, Event
from bushel.store.events import START, Position, oldest_kept, read_after, require_kept
from bushel.store.leases import Lease, acquire


def leader(database: Database) -> Lease:
    with database.transaction() as tx:
        lease = acquire(tx, "control", "test", 60.0)
    assert lease is not None
    return lease


def partitions(database: Database) -> set[str]:
    with database.transaction() as tx:
        rows = tx.all("select relname from pg_inherits join pg_class on pg_class.oid = inhrelid where inhparent = 'events'::regclass")
    return {row["relname"] for row in rows}


def test_there_are_partitions_for_the_weeks_ahead(database: Database) -> None:
    last = max(partitions(database))
    with database.transaction() as tx:
        tx.execute(f"drop table {last}")
    lease = leader(database)
    assert retention.step(database, lease) == 1
    assert last in partitions(database)
    assert retention.step(database, lease) == 0


def test_what_is_past_retention_goes_and_the_horizon_says_so(database: Database) -> None:
    lease = leader(database)
    with database.transaction() as tx:
        tx.execute("select make_event_partitions(current_date - 70, 9)")
        for days in (60, 45, 20):
            tx.execute(
                """
                insert into events (at, kind, scope_path, object, actor)
                values (now() - make_interval(days => %s), %s, 'home', 'x/y', 'test')
                """,
                (days, f"test.{days}"),
            )
    with database.transaction() as tx:
        tx.emit(Event("test.today", "home", "x/y", "test"))
    with database.transaction() as tx:
        before = {event.kind: event.position for event in read_after(tx, START, 10).events}
    assert retention.step(database, lease) >= 2
    with database.transaction() as tx:
        assert [event.kind for event in read_after(tx, START, 10).events] == ["test.20", "test.today"]
        assert oldest_kept(tx) == before["test.45"]
        require_kept(tx, before["test.45"])
        with pytest.raises(Gone):
            require_kept(tx, before["test.60"])
        with pytest.raises(Gone):
            require_kept(tx, Position(0, 0))
    oldest = min(partitions(database)).removeprefix("events_")
    kept_from = datetime.strptime(oldest, "%Y%m%d").replace(tzinfo=UTC)
    assert kept_from <= datetime.now(UTC) - timedelta(days=retention.RETENTION_DAYS) + timedelta(days=1)
