"""Running the controllers: one leader at a time, one thread for each controller, wake-ups and polls.

Guarantees:

- Controllers run only in the process that holds the lease `control`. Its holder counts the lease on a clock of its own
  from before it asked, and begins no step once `TERM_FRACTION` of it has passed unrenewed: a holder's clock that is slow
  by ρ and a server's that is fast by ρ (`domain.leases.RATE_ERROR`) then still agree. A step that is already under way
  then is harmless: each of its commits checks the lease's epoch.
- A step that raises is logged with its controller's name and tried again with back-off; no other controller notices.
- A wake-up is followed by a step at once; without any, a step follows after the controller's poll interval.
- Losing PostgreSQL ends nothing: the lease is asked for again until it answers.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bushel.domain.errors import StaleEpoch, Unavailable
from bushel.domain.failpoints import reach
from bushel.domain.leases import RATE_ERROR
from bushel.store import leases
from bushel.store.database import Database
from bushel.store.leases import Lease
from bushel.store.listener import Listener, Subscription

LEASE_NAME = "control"
LEASE_SECONDS = 5.0
RENEW_SECONDS = 1.5
TERM_FRACTION = (1 - RATE_ERROR) / (1 + RATE_ERROR)

_FIRST_BACKOFF_SECONDS = 0.1
_LONGEST_BACKOFF_SECONDS = 5.0
_JOIN_SECONDS = 1.5
_RENEW_AGAIN_SECONDS = 0.2

log = logging.getLogger("bushel.control")

Step = Callable[[], int]
"""Does what is due now and says how much that was. It is called again at once while it did something."""


@dataclass(frozen=True, slots=True)
class Controller:
    """One loop. `start` makes the step of one term of leadership: what it keeps in memory begins empty with each term."""

    name: str
    start: Callable[[Database, Lease], Step]
    poll_seconds: float
    topics: frozenset[str] = frozenset()
    gather_seconds: float = 0.0
    """After a step that did something the next waits so long: under load there are then few large steps, and a first one is at once."""


def boottime() -> float:
    """A clock that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Term:
    """One unbroken time of holding the lease."""

    def __init__(self, lease: Lease, asked_at: float, lease_seconds: float) -> None:
        self.lease = lease
        self._lease_seconds = lease_seconds
        self._ended = threading.Event()
        self._act_until = asked_at + lease_seconds * TERM_FRACTION

    def renewed(self, asked_at: float) -> None:
        self._act_until = asked_at + self._lease_seconds * TERM_FRACTION

    def seconds_left(self) -> float:
        """How long a step may still begin."""
        return 0.0 if self._ended.is_set() else max(0.0, self._act_until - boottime())

    def active(self) -> bool:
        return self.seconds_left() > 0

    def end(self) -> None:
        self._ended.set()

    def wait(self, timeout_seconds: float) -> bool:
        """Sleep, less if the term ends meanwhile; whether it did."""
        return self._ended.wait(timeout_seconds)


class Runner:
    """Tries for the lease and runs the controllers while it is held. `changed` hears of each gain and loss of it."""

    def __init__(
        self,
        database: Database,
        listener: Listener,
        controllers: Sequence[Controller],
        *,
        lease_seconds: float = LEASE_SECONDS,
        renew_seconds: float = RENEW_SECONDS,
        changed: Callable[[Lease | None], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._listener = listener
        self._controllers = controllers
        self._lease_seconds = lease_seconds
        self._renew_seconds = renew_seconds
        self._changed = changed
        self._holder = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
        self._stopping = threading.Event()
        self._term: Term | None = None

    def stop(self) -> None:
        """End the term, let the steps under way finish, let go of the lease. Not for a signal handler: it takes locks."""
        self._stopping.set()
        if self._term is not None:
            self._term.end()

    def run(self) -> None:
        """Until `stop`."""
        self._changed(None)
        while not self._stopping.is_set():
            term = self._try_for_term()
            if term is None:
                self._stopping.wait(self._renew_seconds)
                continue
            log.info("leading epoch=%d", term.lease.epoch)
            self._term = term
            self._changed(term.lease)
            self._lead(term)
            self._changed(None)
            log.info("no longer leading epoch=%d", term.lease.epoch)

    def _try_for_term(self) -> Term | None:
        asked_at = 0.0
        try:
            with self._database.transaction() as tx:
                asked_at = boottime()  # not before: a connection may be long in coming
                lease = leases.acquire(tx, LEASE_NAME, self._holder, self._lease_seconds)
        except Unavailable as error:
            log.warning("cannot ask for the lease: %s", error.message)
            return None
        reach("runner.after_acquire")
        return None if lease is None else Term(lease, asked_at, self._lease_seconds)

    def _lead(self, term: Term) -> None:
        subscriptions = [self._listener.subscribe(controller.topics) for controller in self._controllers]
        threads = [
            threading.Thread(target=self._loop, args=(controller, subscription, term), name=controller.name, daemon=True)
            for controller, subscription in zip(self._controllers, subscriptions, strict=True)
        ]
        for thread in threads:
            thread.start()
        try:
            self._keep(term)
        finally:
            term.end()
            for subscription in subscriptions:
                subscription.close()
            self._join(threads)
        if self._stopping.is_set():
            self._release(term)

    def _keep(self, term: Term) -> None:
        """Renew until the term ends, by whatever cause."""
        wait_seconds = self._renew_seconds
        while not (self._stopping.is_set() or term.wait(min(wait_seconds, term.seconds_left()))):
            if not term.active():
                log.warning("the lease could not be renewed in time epoch=%d", term.lease.epoch)
                return
            asked_at = 0.0
            try:
                with self._database.transaction() as tx:
                    asked_at = boottime()
                    held = leases.renew(tx, term.lease, self._lease_seconds)
            except Unavailable as error:
                log.warning("cannot renew the lease: %s", error.message)
                wait_seconds = _RENEW_AGAIN_SECONDS
                continue
            if not held:
                return
            term.renewed(asked_at)
            wait_seconds = self._renew_seconds

    def _join(self, threads: Sequence[threading.Thread]) -> None:
        """All steps must be over before this process may lead again; when it stops, the epoch fences what is left."""
        stop_at = time.monotonic() + _JOIN_SECONDS
        for thread in threads:
            while thread.is_alive():
                thread.join(0.1)
                if self._stopping.is_set() and time.monotonic() > stop_at:
                    log.warning("controller=%s a step did not end in time", thread.name)
                    break

    def _release(self, term: Term) -> None:
        try:
            with self._database.transaction() as tx:
                leases.release(tx, term.lease)
        except Unavailable:
            log.info("the lease is left to run out")

    def _loop(self, controller: Controller, subscription: Subscription, term: Term) -> None:
        backoff_seconds = _FIRST_BACKOFF_SECONDS
        step: Step | None = None
        while term.active():
            try:
                subscription.settle()  # hints are sent after commits, so this step sees all that they are about
                step = step or controller.start(self._database, term.lease)
                done = step()
            except StaleEpoch as error:
                log.warning("controller=%s %s", controller.name, error.message)
                term.end()
                return
            except Exception as error:  # one bad controller must not stop the others
                _log_failure(controller.name, error, backoff_seconds)
                step = None if not isinstance(error, Unavailable) else step
                term.wait(backoff_seconds)
                backoff_seconds = min(backoff_seconds * 2, _LONGEST_BACKOFF_SECONDS)
                continue
            backoff_seconds = _FIRST_BACKOFF_SECONDS
            if not done:
                subscription.wait(controller.poll_seconds)
            elif controller.gather_seconds:
                term.wait(controller.gather_seconds)


def _log_failure(controller: str, error: Exception, backoff_seconds: float) -> None:
    if isinstance(error, Unavailable):
        log.warning("controller=%s again_in_seconds=%g step did not finish: %s", controller, backoff_seconds, error.message)
    else:
        log.error("controller=%s again_in_seconds=%g step failed", controller, backoff_seconds, exc_info=error)
