"""What this process hears, handed to everybody in it who waits: wake-ups by topic, and new events.

Guarantees: one connection listens and one thread reads new events, however many wait. A subscriber that falls behind
costs nobody else anything: what is kept for it is bounded, and past that bound it reads for itself from its own position
until it has caught up, so it still sees every event once and in order. Everything ends at once when the server stops.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from starlette.concurrency import run_in_threadpool

from bushel.domain.errors import Unavailable
from bushel.store.database import EVENTS, Database
from bushel.store.events import EventBatch, EventFilter, Position, RecordedEvent, current_position, read_after, require_kept, unsettled
from bushel.store.listener import EVERYTHING, Listener

POLL_SECONDS = 1.0
MOST_KEPT_EVENTS = 2000
"""Events kept for one subscriber before it must read for itself."""

_PAGE_EVENTS = 500
_SETTLE_SECONDS = 0.003
_LONGEST_SETTLE_SECONDS = 0.2


def job_topic(job_id: int) -> str:
    """Topic, within this process: something happened to a job or its attempts."""
    return f"job:{job_id}"


def log_topic(job_id: int) -> str:
    """Topic, within this process: there is more output of a job."""
    return f"log:{job_id}"


class Wakes:
    """Hints on some topics. Every one since the last wait counts; so look, then wait, and nothing is missed."""

    def __init__(self, topics: Iterable[str], stopping: asyncio.Event) -> None:
        self.topics = frozenset(topics)
        self._stopping = stopping
        self._pending: set[str] = set()
        self._hinted = asyncio.Event()

    def wake(self, topic: str = EVERYTHING) -> None:
        self._pending.add(topic)
        self._hinted.set()

    async def wait(self, timeout_seconds: float) -> frozenset[str]:
        """What was hinted at since the last call (`EVERYTHING`: maybe all of it); empty: timed out, or the server stops."""
        if not self._stopping.is_set():
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self._hinted.wait()
            except TimeoutError:
                return frozenset()
        pending, self._pending = frozenset(self._pending), set()
        self._hinted.clear()
        return frozenset() if self._stopping.is_set() else pending


class EventSubscription:
    """Events from a position on. `take` gives the next ones."""

    def __init__(self, hub: Hub, position: Position, filters: EventFilter) -> None:
        self.position = position
        self.filters = filters
        self._hub = hub
        self._kept: deque[RecordedEvent] = deque()
        self._behind = True  # must read from the store
        self._following = False  # all up to `position` was looked at, and the tail brings the rest
        self._wakes = Wakes((), hub.stopping)

    async def take(self, timeout_seconds: float) -> list[RecordedEvent]:
        """The next events, in order, as soon as there is one; empty: timed out, or the server stops.

        Raises:
            Gone: retention dropped what comes next.
            Unavailable: the database does not answer.
        """
        while not self._hub.stopping.is_set():
            if self._behind:
                events = await self._read()
            else:
                events = [event for event in self._kept if event.position > self.position and self.filters.admits(event)]
                self._kept.clear()
                if events:
                    self.position = events[-1].position
                elif not await self._wakes.wait(timeout_seconds):
                    return []
            if events:
                return events
        return []

    async def _read(self) -> list[RecordedEvent]:
        self._behind = self._following = False
        batch = await run_in_threadpool(self._hub.read, self.position, self.filters)
        self.position = batch.position
        self._behind |= batch.more  # the tail may have set it meanwhile
        self._following = not self._behind
        return batch.events

    def keep(self, events: Sequence[RecordedEvent], position: Position) -> None:
        """All that the tail read up to `position`; called on the loop."""
        admitted = [event for event in events if self.filters.admits(event)]
        if len(self._kept) + len(admitted) > MOST_KEPT_EVENTS:
            self._kept.clear()
            self._behind = True
        else:
            self._kept.extend(admitted)
        if self._kept or self._behind:
            self._wakes.wake()
        elif self._following:
            self.position = max(self.position, position)

    def wake(self) -> None:
        self._wakes.wake()


class Hub:
    """One for each API process, in `app.state.hub`."""

    def __init__(self, database: Database, stopping: asyncio.Event) -> None:
        self.stopping = stopping
        self._database = database
        self._loop = asyncio.get_running_loop()
        self._listener = Listener(database.url)
        self._wakes: dict[str, set[Wakes]] = {}
        self._subscriptions: set[EventSubscription] = set()
        self._followers = 0  # of jobs
        self._tail = _Tail(database, self._listener, self)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Hub]:
        """Listen while the block lasts."""
        self._listener.call(self.notify)
        self._listener.start()
        self._tail.start()
        watching = asyncio.create_task(self._end_waits())
        try:
            yield self
        finally:
            self.stopping.set()
            watching.cancel()
            self._wake_all()
            await run_in_threadpool(self._stop_threads)

    @contextmanager
    def topics(self, *topics: str) -> Iterator[Wakes]:
        """Hear hints on `topics` while the block lasts. Begin before looking at what they are about."""
        wakes = Wakes(topics, self.stopping)
        for topic in wakes.topics:
            self._wakes.setdefault(topic, set()).add(wakes)
        try:
            yield wakes
        finally:
            for topic in wakes.topics:
                self._wakes[topic].discard(wakes)
                if not self._wakes[topic]:
                    del self._wakes[topic]

    async def wait(self, topic: str, timeout_seconds: float) -> bool:
        """Wait for one hint from now on; False: timed out, or the server stops."""
        with self.topics(topic) as wakes:
            return bool(await wakes.wait(timeout_seconds))

    @contextmanager
    def job(self, job_id: int) -> Iterator[Wakes]:
        """Hear of a job's events (`job_topic`) and of more output of its tasks (`log_topic`) while the block lasts."""
        self._followers += 1
        try:
            with self.topics(job_topic(job_id), log_topic(job_id)) as wakes:
                yield wakes
        finally:
            self._followers -= 1

    @contextmanager
    def events(self, position: Position, filters: EventFilter) -> Iterator[EventSubscription]:
        """Every event behind `position` that `filters` admits, while the block lasts."""
        subscription = EventSubscription(self, position, filters)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def notify(self, topics: Iterable[str]) -> None:
        """Hand hints to this process's own waiters; from any thread."""
        self.on_loop(self._deliver_hints, frozenset(topics))

    def read(self, position: Position, filters: EventFilter) -> EventBatch:
        """One page of events for a subscriber that is behind. The tail begins first, so nothing falls between the two."""
        self._tail.begin()
        with self._database.transaction() as tx:
            require_kept(tx, position)
            return read_after(tx, position, _PAGE_EVENTS, filters)

    def wanted(self) -> bool:
        """Whether anybody waits for events."""
        return bool(self._subscriptions) or self._followers > 0

    def begin_tail(self) -> None:
        """Have events read from now on, if they are not yet; asks the database."""
        self._tail.begin()

    def deliver(self, events: Sequence[RecordedEvent], position: Position) -> None:
        """What the tail read; on the loop."""
        for subscription in self._subscriptions:
            subscription.keep(events, position)
        if self._followers:
            self._deliver_hints(frozenset(job_topic(event.job_id) for event in events if event.job_id is not None))

    def on_loop(self, call: Callable[..., object], *arguments: object) -> None:
        """Have the loop make a call soon; from any thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(call, *arguments)

    def _deliver_hints(self, topics: frozenset[str]) -> None:
        if EVERYTHING in topics:
            for wakes in {wakes for waiting in self._wakes.values() for wakes in waiting}:
                wakes.wake()
            return
        for topic in topics & self._wakes.keys():
            for wakes in self._wakes[topic]:
                wakes.wake(topic)

    async def _end_waits(self) -> None:
        await self.stopping.wait()
        self._wake_all()

    def _wake_all(self) -> None:
        self._deliver_hints(frozenset({EVERYTHING}))
        for subscription in self._subscriptions:
            subscription.wake()

    def _stop_threads(self) -> None:
        self._tail.stop()
        self._listener.stop()


class _Tail:
    """A thread that reads new events once, while anybody wants them."""

    def __init__(self, database: Database, listener: Listener, hub: Hub) -> None:
        self._database = database
        self._hub = hub
        self._position: Position | None = None
        self._lock = threading.Lock()
        self._stopping = False
        self._subscription = listener.subscribe({EVENTS})
        self._thread = threading.Thread(target=self._run, name="event tail", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._subscription.close()
        self._thread.join(5)

    def begin(self) -> None:
        """Read everything from now on. A subscriber calls this before it reads for itself what is older."""
        with self._lock:
            if self._position is None:
                with self._database.transaction() as tx:
                    self._position = current_position(tx)

    def _run(self) -> None:
        wait_seconds = POLL_SECONDS
        while not self._stopping:
            hinted = self._subscription.wait(wait_seconds)
            try:
                settled = self._read_on()
            except Unavailable:
                settled = True
            if settled:
                wait_seconds = POLL_SECONDS
            elif hinted or wait_seconds == POLL_SECONDS:
                wait_seconds = _SETTLE_SECONDS
            else:
                wait_seconds = min(wait_seconds * 2, _LONGEST_SETTLE_SECONDS)

    def _read_on(self) -> bool:
        """Hand on what is new. False: committed events still wait for an older transaction."""
        while not self._stopping:
            with self._lock:
                if not self._hub.wanted():
                    self._position = None
                if self._position is None:
                    return True
                with self._database.transaction() as tx:
                    batch = read_after(tx, self._position, _PAGE_EVENTS)
                    settled = batch.more or not unsettled(tx)
                self._position = batch.position
                self._hub.on_loop(self._hub.deliver, batch.events, batch.position)
            if not batch.more:
                return settled
        return True


@asynccontextmanager
async def hub_lifespan(app: FastAPI) -> AsyncIterator[None]:
    """For a router's `lifespan`: the app has its hub while it runs."""
    async with Hub(app.state.database, app.state.stopping).running() as hub:
        app.state.hub = hub
        yield


async def _hub(request: Request) -> Hub:
    return request.app.state.hub


CurrentHub = Annotated[Hub, Depends(_hub)]
