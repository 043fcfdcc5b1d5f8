"""Hearing wake-ups: one connection that listens, and those who wait for a topic.

Guarantees: a hint that arrives while nobody waits is kept until the next wait of its subscription; after a lost
connection every subscription is woken once, since hints may have been missed. Hints are only hints: whoever waits also polls.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import psycopg

from bushel.store.database import CHANNEL

EVERYTHING = "*"
"""Topic handed to callbacks after a reconnection: anything may have been missed."""

_RETRY_SECONDS = 0.2
_LONGEST_RETRY_SECONDS = 2.0
_KEEPALIVE: dict[str, Any] = {"keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}


class Subscription:
    """Waits for some topics. Every hint since the last wait counts, so none falls between two waits."""

    def __init__(self, topics: Iterable[str]) -> None:
        self.topics = frozenset(topics)
        self._pending: set[str] = set()
        self._changed = threading.Condition()
        self._closed = False
        self._forget: Callable[[], None] = lambda: None

    def wait(self, timeout_seconds: float) -> frozenset[str]:
        """The topics hinted at since the last call (`EVERYTHING` after a reconnection), as soon as there is one; empty: timed out."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._closed, timeout_seconds)
            pending, self._pending = frozenset(self._pending), set()
            return pending

    def settle(self) -> None:
        """Forget the hints that have arrived: whoever calls this is about to look."""
        with self._changed:
            self._pending = set()

    def wake(self, topics: Iterable[str] = (EVERYTHING,)) -> None:
        """Hand over hints that concern this subscription."""
        concerned = {topic for topic in topics if topic == EVERYTHING or topic in self.topics}
        if concerned:
            with self._changed:
                self._pending |= concerned
                self._changed.notify_all()

    def close(self) -> None:
        """Hear no more, and end every wait, now and later."""
        self._forget()
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Listener:
    """A thread on `LISTEN`. Callbacks run on that thread: they must be quick and must not raise."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._callbacks: list[Callable[[frozenset[str]], None]] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._stop_reader, self._stop_writer = os.pipe()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)

    def start(self) -> Listener:
        self._thread.start()
        return self

    def stop(self) -> None:
        """End the thread and every wait of a subscription."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        os.write(self._stop_writer, b"x")
        if self._thread.is_alive():
            self._thread.join(5)
        os.close(self._stop_writer)
        os.close(self._stop_reader)

    def __enter__(self) -> Listener:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def call(self, callback: Callable[[frozenset[str]], None]) -> Callable[[], None]:
        """Hand each batch of topics to `callback`. The answer ends that."""
        with self._lock:
            self._callbacks.append(callback)

        def end() -> None:
            with self._lock:
                if callback in self._callbacks:
                    self._callbacks.remove(callback)

        return end

    def subscribe(self, topics: Iterable[str]) -> Subscription:
        """Wait for `topics` again and again without missing a hint in between."""
        subscription = Subscription(topics)
        subscription._forget = self.call(subscription.wake)
        return subscription

    def wait(self, topics: Iterable[str], timeout_seconds: float) -> frozenset[str]:
        """Wait once, for hints from now on."""
        subscription = self.subscribe(topics)
        try:
            return subscription.wait(timeout_seconds)
        finally:
            subscription.close()

    def _run(self) -> None:
        retry_seconds = _RETRY_SECONDS
        while not self._stopping.is_set():
            connected_at = time.monotonic()
            try:
                with psycopg.connect(self._url, autocommit=True, connect_timeout=5, **_KEEPALIVE) as connection:
                    connection.execute(f"listen {CHANNEL}")
                    self._hand_over(frozenset({EVERYTHING}))
                    self._hear(connection)
            except psycopg.Error:
                pass  # the database is away; everybody polls meanwhile
            lasted = time.monotonic() - connected_at
            retry_seconds = _RETRY_SECONDS if lasted > _LONGEST_RETRY_SECONDS else min(retry_seconds * 2, _LONGEST_RETRY_SECONDS)
            self._stopping.wait(retry_seconds)

    def _hear(self, connection: psycopg.Connection[Any]) -> None:
        pgconn = connection.pgconn
        while True:
            topics: set[str] = set()
            while (notification := pgconn.notifies()) is not None:
                topics.add(notification.extra.decode())
            if topics:
                self._hand_over(frozenset(topics))
            readable, _, _ = select.select([connection.fileno(), self._stop_reader], [], [])
            if self._stop_reader in readable:
                return
            pgconn.consume_input()

    def _hand_over(self, topics: frozenset[str]) -> None:
        with self._lock:
            callbacks = list(self._callbacks)
        for callback in callbacks:
            callback(topics)
