"""Controllers run in one process at a time, are woken at once, and survive each other, PostgreSQL and a pause."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bushel.control.runner import Controller, Runner, Step
from bushel.domain.errors import StaleEpoch
from bushel.store.database import Database, Event
from bushel.store.leases import Lease
from bushel.store.listener import Listener

PATIENCE_SECONDS = 20.0


def await_that(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {PATIENCE_SECONDS} s"
        time.sleep(0.01)


class Steps:
    """A controller that counts its steps and does whatever it is told."""

    def __init__(self, name: str = "test", *, poll_seconds: float = 60.0, topics: set[str] | None = None) -> None:
        self.times: list[float] = []
        self.leases: list[Lease] = []
        self.do: Callable[[], int] = lambda: 0
        self.controller = Controller(name, self.start, poll_seconds=poll_seconds, topics=frozenset(topics or ()))

    def start(self, database: Database, lease: Lease) -> Step:
        self.leases.append(lease)
        return self.step

    def step(self) -> int:
        self.times.append(time.monotonic())
        return self.do()


@contextmanager
def running(database: Database, *steps: Steps, lease_seconds: float = 5.0, renew_seconds: float = 0.2) -> Iterator[Runner]:
    with ExitStack() as stack:
        listener = stack.enter_context(Listener(database.url))
        runner = Runner(database, listener, [s.controller for s in steps], lease_seconds=lease_seconds, renew_seconds=renew_seconds)
        thread = threading.Thread(target=runner.run)
        thread.start()
        try:
            yield runner
        finally:
            runner.stop()
            thread.join(10)
            assert not thread.is_alive(), "the runner did not stop"


def test_a_wake_up_is_followed_by_a_step_at_once(database: Database) -> None:
    steps = Steps(topics={"schedule"})
    with running(database, steps):
        await_that(lambda: steps.times, "the first step")
        delays = []
        for _ in range(20):
            time_before, count = time.monotonic(), len(steps.times)
            database.wake({"schedule"})
            await_that(lambda count=count: len(steps.times) > count, "a step after a wake-up")
            delays.append(steps.times[-1] - time_before)
        assert sorted(delays)[10] < 0.05, delays


def test_without_a_wake_up_a_step_follows_by_itself(database: Database) -> None:
    steps = Steps(poll_seconds=0.05)
    with running(database, steps):
        await_that(lambda: len(steps.times) >= 5, "the fifth step")


def test_a_step_that_did_something_is_followed_by_another(database: Database) -> None:
    steps = Steps()
    left = [3, 2, 1, 0]
    steps.do = lambda: left.pop(0) if left else 0
    with running(database, steps):
        await_that(lambda: not left, "the step that finds nothing to do")


def test_one_bad_controller_does_not_stop_the_others(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    bad, good = Steps("bad"), Steps("good", poll_seconds=0.02)

    def fail() -> int:
        raise ZeroDivisionError

    bad.do = fail
    with running(database, bad, good):
        await_that(lambda: len(bad.times) >= 3 and len(good.times) >= 10, "steps of both")
    assert "controller=bad" in caplog.text
    assert "ZeroDivisionError" in caplog.text
    pauses = [after - before for before, after in zip(bad.times, bad.times[1:], strict=False)]
    assert pauses[1] > pauses[0] > 0.09, "each failure waits longer than the last"


def test_of_two_one_leads_and_the_other_follows_when_it_stops(database_url: str) -> None:
    first, second = Steps(poll_seconds=0.05), Steps(poll_seconds=0.05)
    with Database(database_url) as one, Database(database_url) as other, ExitStack() as stack:
        stack.enter_context(running(one, first))
        await_that(lambda: first.times, "a step of the first")
        with running(other, second):
            await_that(lambda: len(first.times) >= 10, "steps of the leader")
            assert not second.times
            stopped_at = time.monotonic()
            stack.close()
            await_that(lambda: second.times, "a step of the second")
            assert second.times[0] - stopped_at < 2.0, "a leader that stops hands its lease on"
            assert first.times[-1] < second.times[0]
        assert second.leases[0].epoch == first.leases[0].epoch + 1


def test_a_leader_that_cannot_renew_stops_acting_before_its_lease_ends(database: Database) -> None:
    steps = Steps(poll_seconds=0.01)
    with running(database, steps, lease_seconds=1.0, renew_seconds=0.1):
        await_that(lambda: steps.times, "the first step")
        with psycopg.connect(database.url) as connection:
            connection.execute("set lock_timeout = '5s'")
            expires_at = time.monotonic() + 1.0  # at most: renewals may have been sent up to now
            connection.execute("select from leases for update")
            time.sleep(1.5)  # the time that is tested
            assert steps.times[-1] < expires_at + 0.01
            connection.rollback()
        await_that(lambda: len(steps.leases) >= 2, "the next term")


def test_a_paused_leader_cannot_commit_what_it_decided(database: Database, database_url: str) -> None:
    """docs/concepts/guarantees.md#leaders"""
    paused, go_on = threading.Event(), threading.Event()
    refused: list[StaleEpoch] = []
    first, second = Steps(), Steps()

    def decide_then_sleep() -> int:
        paused.set()
        go_on.wait(PATIENCE_SECONDS)
        try:
            with database.transaction() as tx:
                first.leases[0].require(tx)
                tx.emit(Event("test.stale", "home", "job/1", "test"))
        except StaleEpoch as error:
            refused.append(error)
            raise
        return 0

    first.do = decide_then_sleep
    with ExitStack() as stack:
        stack.callback(go_on.set)
        stack.enter_context(running(database, first))
        assert paused.wait(PATIENCE_SECONDS)
        with database.transaction() as tx:
            tx.execute("update leases set expires_at = now() - interval '1 second', holder = 'gone'")
        other = stack.enter_context(Database(database_url))
        stack.enter_context(running(other, second))
        await_that(lambda: second.times, "a step of the successor")
        go_on.set()
        await_that(lambda: refused, "the refusal of the stale commit")
    with database.transaction() as tx:
        assert tx.all("select * from events") == []


def test_losing_every_connection_stops_no_controller(database: Database) -> None:
    steps = Steps(poll_seconds=0.05, topics={"schedule"})

    def look() -> int:
        with database.transaction() as tx:
            tx.one("select 1 as one")
        return 0

    steps.do = look
    with running(database, steps):
        await_that(lambda: len(steps.times) > 2, "steps")
        with psycopg.connect(database.url, autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
            )
        count = len(steps.times)
        await_that(lambda: len(steps.times) > count + 3, "steps after the connections were cut")


def start_control(database_url: str, folder: Path, **environment: str) -> tuple[subprocess.Popen[bytes], Path]:
    ready, url_file = folder / "ready", folder / "url"
    url_file.write_text(database_url + "\n")
    command = [sys.executable, "-m", "bushel.control", "--database-url-file", url_file, "--state-folder", folder, "--ready-file", ready]
    return subprocess.Popen(command, env={**os.environ, **environment}, stderr=(folder / "control.log").open("ab")), ready


def test_the_process_says_when_it_leads_and_ends_within_two_seconds(database_url: str, tmp_path: Path) -> None:
    process, ready = start_control(database_url, tmp_path)
    try:
        await_that(lambda: ready.exists() and json.loads(ready.read_text())["leader"], "leadership")
        assert json.loads(ready.read_text()) == {"pid": process.pid, "leader": True, "epoch": 1}
        process.send_signal(signal.SIGTERM)
        assert process.wait(2.0) == 0, (tmp_path / "control.log").read_text()
    finally:
        process.kill()
        process.wait()
    log = (tmp_path / "control.log").read_text()
    assert "leading epoch=1" in log
    assert "Traceback" not in log
