"""The exchange with the control plane: one thread reports what has changed, one waits for what is wanted.

Guarantees: a change is reported at once, together with what changes while a report is under way; what is wanted
arrives through a request that the control plane holds back. The lease counts from the moment before a request is
sent, and only grows. Failures are met with pauses that grow to two seconds, with jitter. A lease that has passed on
(409 `stale_epoch`) stops every task before a new one is asked for.
"""

from __future__ import annotations

import json
import logging
import platform
import random
import socket
import threading
import time

import bushel
from bushel.agent import clock
from bushel.agent.lease import read_lease, write_lease
from bushel.client.http1 import NotConnected, TransportFailure
from bushel.domain.failpoints import reach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from bushel.agent.core import Core
    from bushel.agent.state import StateFolder
    from bushel.client.transport import Transport
    from bushel.spec.agent import AttemptReport, NodeReport, SyncAnswer, SyncRequest

log = logging.getLogger(__name__)

LONGEST_PAUSE_SECONDS = 2.0
FIRST_PAUSE_SECONDS = 0.05
ANSWER_SECONDS = 15.0
"""How long an answer may take beyond the time that it was asked to be held back."""

HOLD_SECONDS = 0.03
"""How long news that only says `running` waits: a small task has ended by then, and one report says both."""

GATHER_SECONDS_EACH = 0.005
GATHER_LONGEST_SECONDS = 0.012
"""After a report the next waits a little, the longer the more attempts it was about, so that a busy cluster sends few large ones."""

_NEVER = float("inf")
_LEASE_DEFAULT_SECONDS = 30.0
_POLL_FRACTION = 1 / 3


class Refused(Exception):
    """The control plane answered with a problem."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code


class Pauses:
    """Pauses between tries: doubled each time, with jitter so that many agents do not come back together."""

    def __init__(self) -> None:
        self._seconds = FIRST_PAUSE_SECONDS

    def next(self) -> float:
        pause, self._seconds = self._seconds, min(self._seconds * 2, LONGEST_PAUSE_SECONDS)
        return pause * (0.5 + random.random() / 2)  # noqa: S311 - no secret

    def reset(self) -> None:
        self._seconds = FIRST_PAUSE_SECONDS


class Synchroniser:
    def __init__(self, transport: Transport, state: StateFolder, core: Core, nodes: Sequence[NodeReport]) -> None:
        self._transport = transport
        self._state = state
        self._core = core
        self._nodes = list(nodes)
        self._changed_nodes: dict[str, NodeReport] = {}  # not told yet
        self._changed = threading.Condition()
        self._news_at = _NEVER  # when what has changed is due to be told
        self.stopping = threading.Event()
        self._registered = threading.Event()
        self._leasing = threading.Lock()
        on_disk = read_lease(state.path)
        self._lease_seconds: float = on_disk["lease_seconds"] if on_disk else _LEASE_DEFAULT_SECONDS
        self._parked: bool = bool(on_disk and on_disk["parked"])
        self._on_disk: tuple[int, bool, float] | None = None
        self._threads = [
            threading.Thread(target=self._report, name="reporter", daemon=True),
            threading.Thread(target=self._wait, name="waiter", daemon=True),
        ]
        self._said: str | None = None

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def changed(self, *, urgent: bool = True) -> None:
        """There is something to report: at once, or when a little time has passed in which it may be overtaken."""
        due_at = time.monotonic() + (0.0 if urgent else HOLD_SECONDS)
        with self._changed:
            if due_at < self._news_at:
                self._news_at = due_at
                self._changed.notify()

    def nodes_changed(self, nodes: Sequence[NodeReport], changed: Sequence[NodeReport]) -> None:
        """These are all nodes now, and these of them are news."""
        with self._changed:
            self._nodes = list(nodes)
            self._changed_nodes.update((node["name"], node) for node in changed)
        self.changed(urgent=False)

    def stop(self) -> None:
        """Send nothing more. A request that is under way is left to itself."""
        self.stopping.set()
        self.changed()
        self._registered.set()

    # The two threads -------------------------------------------------------------------------------------------------

    def _report(self) -> None:
        pauses = Pauses()
        while not self.stopping.is_set():
            if self._registered.is_set():
                with self._changed:
                    while (left := self._news_at - time.monotonic()) > 0 and not self.stopping.is_set():
                        self._changed.wait(min(left, 3600.0))
                    self._news_at = _NEVER
                if self.stopping.is_set():
                    return
            try:
                if self._registered.is_set():
                    reports = self._core.reports()
                    if reports or self._changed_nodes:
                        self._exchange(reports, wait_seconds=0.0)
                    self.stopping.wait(min(len(reports) * GATHER_SECONDS_EACH, GATHER_LONGEST_SECONDS))
                else:
                    self._register()
                pauses.reset()
            except Exception as failure:
                self._meet(failure)
                self.changed()
                self.stopping.wait(pauses.next())

    def _wait(self) -> None:
        pauses = Pauses()
        while True:
            self._registered.wait()
            if self.stopping.is_set():
                return
            try:
                self._exchange([], wait_seconds=self._lease_seconds * _POLL_FRACTION)
                pauses.reset()
            except Exception as failure:
                self._meet(failure)
                self.stopping.wait(pauses.next())

    def _meet(self, failure: Exception) -> None:
        """Say what is wrong, once for each new reason, and act on a lease that has passed on."""
        text = str(failure)
        if not isinstance(failure, (TransportFailure, Refused, OSError)):
            log.exception("the exchange with the control plane failed by a fault of ours or its")
        elif text != self._said:
            self._said = text
            if isinstance(failure, Refused) and failure.status in (401, 403):
                log.error("the control plane does not accept this agent's token: %s", failure)
            else:
                log.warning("no answer from the control plane, trying again: %s", failure)
        if isinstance(failure, Refused) and failure.code == "stale_epoch":
            self._registered.clear()
            self.changed()

    # Exchanges -------------------------------------------------------------------------------------------------------

    def _register(self) -> None:
        """The first exchange of a process or of an epoch: everything is told, and everything asked for."""
        if self._parked:
            self._unpark()
        if self._core.epoch is None and self._core.live_count():
            # What ran under the old epoch is being stopped; a new lease is asked for when nothing is left.
            self.stopping.wait(0.05)
            self.changed()
            if self._core.live_count():
                return
        self._exchange(self._core.reports(everything=True), wait_seconds=0.0, complete=True)
        self._registered.set()

    def _exchange(self, reports: list[AttemptReport], *, wait_seconds: float, complete: bool = False, parked: bool = False) -> None:
        """One request and what follows from its answer."""
        epoch = self._core.epoch
        nodes = self._nodes if complete else list(self._changed_nodes.values()) if wait_seconds == 0 else []
        request: SyncRequest = {
            "incarnation": self._state.incarnation,
            "epoch": epoch,
            "sent_at": clock.timestamp(),
            "known_version": 0 if complete else self._core.known_version,
            "complete": complete,
            "attempts": reports,
            "wait_seconds": wait_seconds,
        }
        if nodes:
            request["nodes"] = nodes
        if complete:
            request["agent"] = {"version": bushel.__version__, "host": socket.gethostname(), "platform": platform.platform()}
        if parked:
            request["parked"] = True
        reach("sync.before_send")
        sent = clock.boot_seconds()
        try:
            answer = self._send(request, ANSWER_SECONDS + wait_seconds)
        except Refused as refusal:
            if refusal.code == "stale_epoch" and self._core.lose_epoch(epoch):
                log.warning("the lease of epoch %s has passed on: its tasks are stopped", epoch)
            raise
        reach("sync.after_answer")
        self._said = None
        if self.stopping.is_set() and not parked:
            return
        self._renew(answer, sent, parked=parked)
        self._core.answered(reports)
        self._nodes_told(nodes)
        if answer["epoch"] != self._core.epoch:
            self._core.begin_epoch(answer["epoch"])
        rebooted = self._state.rebooted and answer["complete"]
        self._core.take_answer(answer["version"], answer["complete"], answer["attempts"], answer["forget"], rebooted=rebooted)
        if rebooted:
            self._state.settle()

    def _nodes_told(self, nodes: Sequence[NodeReport]) -> None:
        """What has changed again meanwhile stays to be told."""
        with self._changed:
            for node in nodes:
                if self._changed_nodes.get(node["name"]) is node:
                    del self._changed_nodes[node["name"]]

    def _send(self, request: SyncRequest, timeout_seconds: float) -> SyncAnswer:
        """Raises:
        Refused: the answer is a problem.
        TransportFailure: there was no answer.
        """
        body = json.dumps(request).encode()
        status, _, content = self._transport.send("POST", "/v1/agent/sync", body, {"Content-Type": "application/json"}, timeout_seconds)
        try:
            document: Any = json.loads(content)
        except ValueError:
            document = {}
        if status != 200:
            raise Refused(status, document.get("code", ""), document.get("detail", content[:200].decode(errors="replace")))
        return document

    # The lease -------------------------------------------------------------------------------------------------------

    def _renew(self, answer: SyncAnswer, sent: float, *, parked: bool) -> None:
        """Write the lease down if it has grown by a noticeable part."""
        with self._leasing:
            if self._parked:  # a late answer to an earlier request takes nothing back
                return
            self._lease_seconds = answer["lease_seconds"]
            expires = sent + self._lease_seconds
            if self._on_disk is not None:
                epoch, was_parked, written = self._on_disk
                if epoch == answer["epoch"] and was_parked == parked and expires < written + self._lease_seconds / 30:
                    return
            self._write_lease(answer["epoch"], expires, parked=parked)
            self._parked = parked

    def _unpark(self) -> None:
        """Give a parked lease an end, before the control plane may hear of us and give it one too.

        Raises:
            NotConnected: nobody is there to hear us; the lease stays parked.
        """
        self._transport.send("GET", "/healthz", timeout=5.0)
        with self._leasing:
            if self._core.epoch is not None:
                self._write_lease(self._core.epoch, clock.boot_seconds() + self._lease_seconds, parked=False)
            self._parked = False

    def _write_lease(self, epoch: int, expires: float, *, parked: bool) -> None:
        write_lease(
            self._state.path,
            epoch=epoch,
            expires_boottime=expires,
            lease_seconds=self._lease_seconds,
            parked=parked,
            boot=self._state.boot,
        )
        self._on_disk = (epoch, parked, expires)

    def park(self, timeout_seconds: float) -> bool:
        """Say farewell: tasks go on without us, and nothing starts elsewhere. True when the control plane has agreed."""
        self.stop()
        if self._parked or self._core.epoch is None:
            return True
        deadline = time.monotonic() + timeout_seconds
        pauses = Pauses()
        while time.monotonic() < deadline:
            try:
                self._exchange(self._core.reports(), wait_seconds=0.0, parked=True)
            except NotConnected as failure:
                self._meet(failure)
            except Refused as failure:
                self._meet(failure)
                if failure.code == "stale_epoch":
                    return True
            except TransportFailure as failure:
                self._meet(failure)
            else:
                return True
            time.sleep(pauses.next())
        return False
