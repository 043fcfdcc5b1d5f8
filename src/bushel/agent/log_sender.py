"""Sending what tasks print to the control plane, many tasks in one request.

Guarantees: its own thread, so that nothing else waits for logs; memory is bounded by one batch; a task's output is
complete there, ended and durable, before its files go; a log that cannot be sent for `KEPT_SECONDS` after its task's
end is given up. When the control plane has no disk left or cannot be reached, everything is kept and tried again.
"""

from __future__ import annotations

import json
import logging
import threading
import time

from bushel.agent.sync import Pauses
from bushel.agent.task_log import TaskLog
from bushel.client.http1 import TransportFailure
from bushel.domain.failpoints import reach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bushel.agent.state import StateFolder
    from bushel.client.transport import Transport
    from bushel.spec.logs import LogEnd

log = logging.getLogger(__name__)

CONTENT_TYPE = "application/vnd.bushel.logs"  # as spec.logs says, with the limits below
BATCH_BYTES = 4 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024
STREAMS_LIMIT = 2000
GATHER_SECONDS = 0.02
GATHER_SECONDS_EACH = 0.005
GATHER_LONGEST_SECONDS = 0.25
"""The more logs were in the last batch, the longer the next gathers: thousands of small tasks need few requests."""

KEPT_SECONDS = 7 * 86400.0
TIMEOUT_SECONDS = 60.0


class LogSender:
    def __init__(self, transport: Transport, state: StateFolder, sent: Callable[[str], None]) -> None:
        """`sent` is called with a task's key when nothing of its output is left to send."""
        self._transport = transport
        self._state = state
        self._sent = sent
        self._logs: dict[str, TaskLog] = {}
        self._waiting: dict[str, None] = {}  # keys with something to send, oldest first
        self._given_up_at: dict[str, float] = {}
        self._last_streams = 0
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log sender", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        with self._changed:
            self._changed.notify()

    def written(self, key: str, attempt: str, rank: int) -> None:
        """A task may have printed something."""
        with self._changed:
            if key not in self._logs:
                self._logs[key] = TaskLog(self._state.task(key), attempt, rank)
            self._waiting[key] = None
            self._changed.notify()

    def ended(self, key: str, attempt: str, rank: int, final_position: int | None) -> None:
        """A task will print nothing more."""
        with self._changed:
            if key not in self._logs:
                self._logs[key] = TaskLog(self._state.task(key), attempt, rank)
            self._logs[key].final_position = final_position
            self._logs[key].ended = True
            self._given_up_at[key] = time.monotonic() + KEPT_SECONDS
            self._waiting[key] = None
            self._changed.notify()

    def has_waiting(self) -> bool:
        return bool(self._logs and any(task_log.ended for task_log in list(self._logs.values())))

    def _run(self) -> None:
        pauses = Pauses()
        while not self._stopping.is_set():
            with self._changed:
                while not self._waiting and not self._stopping.is_set():
                    self._changed.wait()
            self._stopping.wait(min(GATHER_SECONDS + self._last_streams * GATHER_SECONDS_EACH, GATHER_LONGEST_SECONDS))
            if self._stopping.is_set():
                return
            with self._changed:
                keys = list(self._waiting)[:STREAMS_LIMIT]
                for key in keys:
                    del self._waiting[key]
            try:
                self._send(keys)
                pauses.reset()
            except Exception as failure:
                if not isinstance(failure, (TransportFailure, OSError)):
                    log.exception("sending output failed by a fault of ours or the control plane's")
                log.warning("output of tasks could not be sent, trying again: %s", failure)
                self._put_back(keys)
                self._give_up_old()
                self._stopping.wait(pauses.next())

    def _send(self, keys: list[str]) -> None:
        streams, pieces, sent_keys = [], [], []
        left = BATCH_BYTES
        for number, key in enumerate(keys):
            if left <= 0:
                self._put_back(keys[number:])
                break
            task_log = self._logs.get(key)
            if task_log is None:
                continue
            data, ended = task_log.chunk(min(left, CHUNK_BYTES))
            if not data and not ended:
                continue
            left -= len(data)
            streams.append(
                {"attempt": task_log.attempt, "rank": task_log.rank, "offset": task_log.offset, "length": len(data), "ended": ended}
            )
            pieces.append(data)
            sent_keys.append(key)
        self._last_streams = len(streams)
        if not streams:
            return
        header = json.dumps({"streams": streams}).encode() + b"\n"
        reach("log_sender.before_send")
        status, _, content = self._transport.send(
            "POST", "/v1/agent/logs", header + b"".join(pieces), {"Content-Type": CONTENT_TYPE}, TIMEOUT_SECONDS
        )
        reach("log_sender.after_send")
        if status != 200:
            raise OSError(f"{status} {content[:500].decode(errors='replace')}")
        for key, end, stream in zip(sent_keys, json.loads(content)["ends"], streams, strict=True):
            self._take_answer(key, end, ended=bool(stream["ended"]))

    def _take_answer(self, key: str, end: LogEnd, *, ended: bool) -> None:
        task_log = self._logs[key]
        error = end.get("error")
        if error in ("unknown_attempt", "ended", "malformed"):
            if error == "malformed":
                log.error("the output of %s was refused as malformed and is given up", key)
            self._finish(key)
            return
        task_log.accepted(end["size_bytes"], end["durable_bytes"])
        if ended and error is None:
            self._finish(key)
        else:
            self._put_back([key])

    def _finish(self, key: str) -> None:
        with self._changed:
            self._logs.pop(key, None)
            self._waiting.pop(key, None)
            self._given_up_at.pop(key, None)
        self._sent(key)

    def _put_back(self, keys: list[str]) -> None:
        with self._changed:
            for key in keys:
                if key in self._logs:
                    self._waiting[key] = None

    def _give_up_old(self) -> None:
        now = time.monotonic()
        for key in [key for key, at in list(self._given_up_at.items()) if at < now]:
            log.error("the output of %s could not be sent for a week and is given up", key)
            self._finish(key)
