"""Wake-ups reach those who wait, and a lost connection wakes everybody."""

from __future__ import annotations

import time

import psycopg

from bushel.store.database import Database
from bushel.store.listener import EVERYTHING, Listener

PROMPT_SECONDS = 5.0


def test_a_hint_reaches_its_subscription_and_no_other(database: Database) -> None:
    with Listener(database.url) as listener:
        wanted, other = listener.subscribe({"schedule"}), listener.subscribe({"cluster:7"})
        for subscription in (wanted, other):
            assert subscription.wait(PROMPT_SECONDS) == {EVERYTHING}, "the first connection counts as a reconnection"
        with database.transaction() as tx:
            tx.wake("schedule")
        assert wanted.wait(PROMPT_SECONDS) == {"schedule"}
        assert other.wait(0) == frozenset()


def test_a_hint_between_two_waits_is_kept(database: Database) -> None:
    with Listener(database.url) as listener:
        first, second = listener.subscribe({"events"}), listener.subscribe({"events"})
        first.wait(PROMPT_SECONDS)
        second.wait(PROMPT_SECONDS)
        database.wake({"events"})
        assert first.wait(PROMPT_SECONDS) == {"events"}
        assert second.wait(0) == {"events"}


def test_a_lost_connection_wakes_every_subscription(database: Database) -> None:
    with Listener(database.url) as listener:
        subscription = listener.subscribe({"schedule"})
        subscription.wait(PROMPT_SECONDS)
        with psycopg.connect(database.url, autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where query = 'listen bushel' and datname = current_database()"
            )
        assert subscription.wait(PROMPT_SECONDS) == {EVERYTHING}
        database.wake({"schedule"})
        assert subscription.wait(PROMPT_SECONDS) == {"schedule"}


def test_stopping_ends_every_wait(database: Database) -> None:
    listener = Listener(database.url).start()
    subscription = listener.subscribe({"schedule"})
    subscription.wait(PROMPT_SECONDS)
    subscription.close()
    started = time.monotonic()
    assert subscription.wait(60) == frozenset()
    listener.stop()
    assert time.monotonic() - started < PROMPT_SECONDS
