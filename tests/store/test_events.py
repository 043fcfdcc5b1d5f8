"""Events are read once each, in commit order, whichever transaction finishes first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from bushel.domain.errors import Gone
from bushel.store.database import Database, Event, Transaction
from bushel.store.events import (
    SCAN_LIMIT,
    START,
    EventFilter,
    Position,
    current_position,
    read_after,
    read_before,
    require_kept,
)


def event(kind: str, *, path: str = "acme", job_id: int | None = None) -> Event:
    return Event(kind=kind, scope_path=path, object=f"thing/{kind}", actor="test", job_id=job_id)


def write(database: Database, *kinds: str, path: str = "acme", job_id: int | None = None) -> None:
    with database.transaction() as tx:
        tx.emit(*(event(kind, path=path, job_id=job_id) for kind in kinds))


def read_kinds(database: Database, position: Position, filters: EventFilter = EventFilter()) -> tuple[list[str], Position]:
    with database.transaction() as tx:
        batch = read_after(tx, position, 1000, filters)
    return [found.kind for found in batch.events], batch.position


@contextmanager
def open_transaction(database: Database) -> Iterator[tuple[Transaction, ExitStack]]:
    """A transaction that the test ends itself, by closing the stack."""
    with ExitStack() as stack:
        yield stack.enter_context(database.transaction()), stack


def test_a_smaller_event_id_that_commits_later_is_not_skipped(database: Database) -> None:
    """docs/concepts/guarantees.md#events"""
    write(database, "before")
    with open_transaction(database) as (slow, slow_end):
        slow.emit(event("slow"))
        slow.flush()  # takes its transaction id and its event id now, and stays open
        write(database, "fast")
        seen, position = read_kinds(database, START)
        assert seen == ["before"], "the fast event has a position behind one that can still appear"
        slow_end.close()
    seen, position = read_kinds(database, position)
    assert seen == ["slow", "fast"]
    assert read_kinds(database, position)[0] == []


def test_a_smaller_transaction_id_with_a_larger_event_id_is_not_skipped(database: Database) -> None:
    """The first transaction to start writes its event last: event ids and transaction ids disagree."""
    with open_transaction(database) as (first, first_end):
        first.one("select pg_current_xact_id()::text as xid")
        write(database, "second")
        seen, position = read_kinds(database, START)
        assert seen == []
        first.emit(event("first"))
        first_end.close()
    seen, position = read_kinds(database, position)
    assert seen == ["first", "second"]
    with database.transaction() as tx:
        ids = {found.kind: found.position.id for found in read_after(tx, START, 10).events}
    assert ids["first"] > ids["second"]
    assert read_kinds(database, position)[0] == []


def test_an_event_of_a_transaction_that_rolled_back_holds_nobody_up(database: Database) -> None:
    with suppress(RuntimeError), database.transaction() as tx:
        tx.emit(event("never"))
        tx.flush()
        raise RuntimeError
    write(database, "after")
    assert read_kinds(database, START)[0] == ["after"]


def test_what_a_list_missed_comes_after_the_position_taken_before_it(database: Database) -> None:
    write(database, "old")
    with open_transaction(database) as (slow, slow_end):
        slow.emit(event("slow"))
        slow.flush()
        with database.transaction() as tx:
            position = current_position(tx)
        slow_end.close()
    write(database, "new")
    assert read_kinds(database, position)[0] == ["slow", "new"]


def test_positions_survive_their_text() -> None:
    assert Position.parse(str(Position(735, 12))) == Position(735, 12)
    for text in ("", "7", "-", "7-", "-7", "7-8-9", "a-b", "7-²", "-1-2", "9" * 30 + "-1"):
        with pytest.raises(ValueError, match="position"):
            Position.parse(text)


def test_filters_admit_subtrees_families_and_jobs(database: Database) -> None:
    write(database, "job.failed", path="acme/research", job_id=7)
    write(database, "job.succeeded", path="acme/research/vision", job_id=8)
    write(database, "node.lost", path="acme/research_2")
    subtree = EventFilter(scope_paths=("acme/research",))
    assert read_kinds(database, START, subtree)[0] == ["job.failed", "job.succeeded"]
    assert read_kinds(database, START, EventFilter(kinds=("job.",)))[0] == ["job.failed", "job.succeeded"]
    assert read_kinds(database, START, EventFilter(kinds=("job.failed", "node.lost")))[0] == ["job.failed", "node.lost"]
    assert read_kinds(database, START, EventFilter(job_id=8))[0] == ["job.succeeded"]
    assert read_kinds(database, START, EventFilter(scope_paths=()))[0] == []
    with database.transaction() as tx:
        everything = read_after(tx, START, 10).events
        for filters in (subtree, EventFilter(kinds=("job.",)), EventFilter(job_id=8), EventFilter(scope_paths=())):
            assert [e for e in everything if filters.admits(e)] == read_after(tx, START, 10, filters).events
        assert [e.kind for e in read_before(tx, None, 2).events] == ["node.lost", "job.succeeded"]


def test_a_filter_that_finds_little_reads_on_from_where_it_stopped(database: Database) -> None:
    with database.transaction() as tx:
        tx.execute(
            """
            insert into events (kind, scope_path, object, actor)
            select case n when 1 then 'straw' when %s then 'needle' else 'hay' end, 'acme', 'x/y', 'test' from generate_series(1, %s) n
            """,
            (SCAN_LIMIT + 5, SCAN_LIMIT + 10),
        )
    position, found, calls = START, [], 0
    more = True
    while more:
        with database.transaction() as tx:
            batch = read_after(tx, position, 100, EventFilter(kinds=("needle",)))
        found += [e.kind for e in batch.events]
        position, more, calls = batch.position, batch.more, calls + 1
    assert found == ["needle"]
    assert calls == 2
    with database.transaction() as tx:
        first = read_before(tx, None, 100, EventFilter(kinds=("straw",)))
        second = read_before(tx, first.position, 100, EventFilter(kinds=("straw",)))
    assert (first.events, first.more) == ([], True)
    assert ([e.kind for e in second.events], second.more) == (["straw"], False)


def test_a_position_ahead_of_what_is_kept_is_gone(database: Database) -> None:
    write(database, "one")
    with database.transaction() as tx:
        tx.execute("update event_horizon set written_by = '1000', id = 5")
        require_kept(tx, Position(1000, 5))
        with pytest.raises(Gone):
            require_kept(tx, Position(1000, 4))
