"""Transactions keep their events."""

from __future__ import annotations

import pytest

from bushel.store.database import Database, Event


def test_an_event_exists_exactly_when_its_transaction_does(database: Database) -> None:
    event = Event(kind="job.submitted", scope_path="acme", object="job/1", actor="test")
    with pytest.raises(RuntimeError), database.transaction() as tx:
        tx.emit(event)
        tx.flush()
        raise RuntimeError
    with database.transaction() as tx:
        tx.emit(event)
    with database.transaction() as tx:
        assert len(tx.all("select * from events")) == 1
