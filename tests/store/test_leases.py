"""A lease has one holder, and a holder that slept through its end can commit nothing."""

from __future__ import annotations

import threading

import pytest

from bushel.domain.errors import StaleEpoch
from bushel.store.database import Database, Event
from bushel.store.leases import Lease, acquire, release, renew, require_epoch


def take(database: Database, holder: str, seconds: float = 60.0) -> Lease | None:
    with database.transaction() as tx:
        return acquire(tx, "control", holder, seconds)


def run_out(database: Database) -> None:
    with database.transaction() as tx:
        tx.execute("update leases set expires_at = now()")


def taken(lease: Lease | None) -> Lease:
    assert lease is not None
    return lease


def test_a_lease_has_one_holder_and_its_epoch_grows_when_it_passes_on(database: Database) -> None:
    first = taken(take(database, "a"))
    assert take(database, "b") is None
    run_out(database)
    second = taken(take(database, "b"))
    assert second.epoch == first.epoch + 1
    with database.transaction() as tx:
        assert not renew(tx, first, 60.0)
        assert renew(tx, second, 60.0)


def test_a_released_lease_can_be_taken_at_once(database: Database) -> None:
    first = taken(take(database, "a"))
    with database.transaction() as tx:
        release(tx, first)
    assert taken(take(database, "b")).epoch == first.epoch + 1


def test_a_holder_that_asks_again_gets_a_new_epoch_at_once(database: Database) -> None:
    first = taken(take(database, "a"))
    assert taken(take(database, "a")).epoch == first.epoch + 1


def test_a_paused_leader_cannot_commit_once_another_leads(database: Database) -> None:
    """docs/concepts/guarantees.md#leaders"""
    paused = taken(take(database, "a"))
    with database.transaction() as tx:
        paused.require(tx)  # while it leads, it may
    run_out(database)
    taken(take(database, "b"))

    def commit() -> None:
        with database.transaction() as tx:
            tx.emit(Event("job.starting", "acme", "job/1", "schedule"))
            require_epoch(tx, paused.name, paused.holder, paused.epoch)

    with pytest.raises(StaleEpoch):
        commit()
    with database.transaction() as tx:
        assert tx.all("select * from events") == []


def test_nobody_takes_over_between_the_check_and_the_commit(database: Database) -> None:
    leader = taken(take(database, "a"))
    run_out(database)
    with database.transaction() as tx:
        leader.require(tx)
        assert take(database, "b") is None, "a fenced transaction is open: its epoch must stay the newest until it has ended"
    assert take(database, "b") is not None


def test_renewing_waits_for_no_fenced_transaction(database: Database) -> None:
    leader = taken(take(database, "a"))
    renewed = threading.Event()

    def renew_it() -> None:
        with database.transaction() as tx:
            assert renew(tx, leader, 60.0)
        renewed.set()

    with database.transaction() as tx:
        leader.require(tx)
        thread = threading.Thread(target=renew_it)
        thread.start()
        assert renewed.wait(5), "the renewal waited for a transaction that the lease fences"
    thread.join()


def test_two_who_ask_at_once_do_not_both_lead(database: Database) -> None:
    start = threading.Barrier(4)
    found: list[Lease | None] = []

    def ask(holder: str) -> None:
        start.wait()
        found.append(take(database, holder))

    threads = [threading.Thread(target=ask, args=(f"holder {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([lease for lease in found if lease]) == 1
