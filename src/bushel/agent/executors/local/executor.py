"""Tasks as processes of this machine, as the agent sees them.

Guarantees: `start` begins a task at most once ever, however often it is called and whoever dies meanwhile; every task
that was started is heard of again: its events come from its shim at once, and whatever was missed (a full queue, a
dead agent, a killed shim) is found on disk within about a second; after the shim of a task was killed, what it left
behind is killed before the task is called lost.

Events, each with the task's key: `started` (its mark), `running`, `stopping`, `progress`, `log` (there is new
output), `ended` (its result). They come from one thread of the executor.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import queue
import select
import signal
import socket
import subprocess
import sys
import threading
import time

import bushel
from bushel.agent.attempts import ended_unseen
from bushel.agent.executors.local import folder, processes
from bushel.agent.executors.local.cgroups import Limiter
from bushel.agent.executors.local.launcher import BOOTSTRAP, LENGTH_BYTES
from bushel.agent.executors.local.progress import last_progress
from bushel.agent.executors.local.spares import Spares
from bushel.agent.executors.local.survivors import kill_survivors
from bushel.domain.failpoints import reach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from bushel.agent.state import StateFolder

_LOOK_SECONDS = 1.0
_SETTLED_SECONDS = 0.5
_ASK_AGAIN_SECONDS = 5.0
_LAUNCHER_PAUSE_SECONDS = 0.2
_SHIM_DIED = "the process that watched the task was killed"
_READ_BYTES = 256 * 1024
_QUEUE_BYTES = 1024 * 1024


class _Watched:
    """A task that has not ended, as far as we know."""

    __slots__ = ("asked_at", "descriptor", "pid", "progress", "request", "since", "stop_asked", "ticks")

    def __init__(self, request: bytes | None) -> None:
        self.request = request  # kept until the shim has spoken, in case the launcher dies with it
        self.since = self.asked_at = time.monotonic()
        self.pid = 0
        self.ticks = 0
        self.stop_asked = False
        self.descriptor: int | None = None
        self.progress: dict[str, Any] | None = None


class LocalExecutor:
    def __init__(
        self, state: StateFolder, on_event: Callable[[str, str, dict[str, Any] | None], None], limiter: Limiter | None = None
    ) -> None:
        self._state = state
        self._on_event = on_event
        self.limiter = limiter or Limiter.detect(state.path)
        self.limiter.sweep()
        self._watched: dict[str, _Watched] = {}
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._events = os.open(state.events, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)  # also to write: so it never ends
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._events, fcntl.F_SETPIPE_SZ, _QUEUE_BYTES)
        self._wake, self._wake_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll = select.epoll()
        self._poll.register(self._events, select.EPOLLIN)
        self._poll.register(self._wake, select.EPOLLIN)
        self._by_descriptor: dict[int, str] = {}
        self._partial = b""
        self._closing = False
        self._launcher, self._requests = self._start_launcher()
        self._spares = Spares(state.tasks, state.spares, state.generation)
        self._removals: queue.SimpleQueue[tuple[str, int | None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._listen, name="executor", daemon=True)
        self._deleter = threading.Thread(target=self._clear_removed, name="deleter", daemon=True)

    # For the agent ---------------------------------------------------------------------------------------------------

    def open(self) -> dict[str, tuple[dict[str, Any], dict[str, Any] | None]]:
        """What the folder holds: key → mark and, of a task that has ended, its result. Those that live will be watched."""
        found: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {}
        forgotten = self._spares.forgotten()
        for key in list(folder.keys(self._state.tasks)):
            start, end, alive = folder.read_record(self._state.task(key))
            never_started = start is None and not alive  # it may be, in a new folder
            if never_started or folder.parse_task_key(key)[0] in forgotten:
                self.remove([key])
                continue
            if end is None and (not alive or start is None):
                rebooted = (start or {}).get("boot_id") != self._state.boot
                end = self._lose(key, start or {}, "the machine was started anew" if rebooted else _SHIM_DIED)
            found[key] = (start or {}, end)
            if end is None and start is not None:
                watched = _Watched(None)
                watched.pid, watched.ticks = start["pid"], start["start_ticks"]
                self._watched[key] = watched
        return found

    def listen(self) -> None:
        """Begin to give events."""
        self._thread.start()
        self._deleter.start()

    def start(self, request: dict[str, Any]) -> None:
        """Begin a task. Fields of the request: see `bushel.agent.requests`."""
        key = request["key"]
        request["cgroups"] = self.limiter.parents
        body = json.dumps(request).encode()
        message = len(body).to_bytes(LENGTH_BYTES, "big") + body
        with self._lock:
            if key in self._watched:
                return
            self._watched[key] = _Watched(message)
        # A copy of the request that is still under way when the task was forgotten finds no folder, and so starts nothing.
        try:
            if not self._spares.take(key):
                os.mkdir(self._state.task(key), folder.FOLDER_MODE)
                folder.reserve(f"{self._state.task(key)}/{folder.STOP}")
        except FileExistsError:
            pass
        except OSError as error:
            self._unwatch(key)
            self._on_event(key, "ended", ended_unseen("disk_full", f"the task's folder could not be made: {error.strerror}"))
            return
        reach("executor.before_send")
        self._send(message)
        reach("executor.after_send")

    def stop(self, key: str, reason: str, grace_seconds: float) -> None:
        """Ask a task to end. It may be asked again, to shorten the grace."""
        reach("executor.before_stop")
        folder.replace(f"{self._state.task(key)}/{folder.STOP}", {"reason": reason, "grace_seconds": grace_seconds})
        reach("executor.after_stop")
        watched = self._watched.get(key)
        if watched is not None:
            watched.stop_asked = True
        self._nudge(key)

    def remove(self, keys: Sequence[str]) -> None:
        """Forget an attempt's tasks, which have ended. Their files are deleted behind our back."""
        reach("executor.before_remove")
        for removal in self._spares.put_aside(keys):
            self._removals.put(removal)

    def _clear_removed(self) -> None:
        self._spares.clear_left()
        while (removal := self._removals.get()) is not None:
            self._spares.clear(*removal)

    def has_live(self) -> bool:
        return bool(self._watched)

    def close(self) -> None:
        """Stop listening. Tasks go on."""
        self._closing = True
        os.write(self._wake_writer, b"x")
        if self._thread.is_alive():
            self._thread.join(5)
        self._removals.put(None)
        self._requests.close()
        if not self._watched:  # with tasks it stays, to watch their shims
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._launcher.wait(5)
            self.limiter.close()

    # The launcher ----------------------------------------------------------------------------------------------------

    def _start_launcher(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        ours, its = socket.socketpair()
        package = os.path.dirname(os.path.dirname(os.path.abspath(bushel.__file__)))
        events = os.open(self._state.events, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        command = [sys.executable, "-I", "-S", "-c", BOOTSTRAP, package, str(its.fileno()), str(events)]
        self._launched_at = time.monotonic()
        reach("executor.before_launcher")
        launcher = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(its.fileno(), events), start_new_session=True, cwd="/")
        its.close()
        os.close(events)
        self._poll.register(ours, select.EPOLLRDHUP)
        return launcher, ours

    def _send(self, message: bytes) -> None:
        with self._sending, contextlib.suppress(OSError):  # a dead launcher is seen by the listener, which sends again
            self._requests.sendall(message)

    def _replace_launcher(self) -> None:
        """The launcher is gone: what no shim has taken up is sent to a new one. Claims make sending twice harmless."""
        with self._sending:
            self._poll.unregister(self._requests)
            self._requests.close()
            self._launcher.wait()
            if time.monotonic() - self._launched_at < _LAUNCHER_PAUSE_SECONDS:  # it cannot live here: do not try in a tight loop
                time.sleep(_LAUNCHER_PAUSE_SECONDS)
            self._launcher, self._requests = self._start_launcher()
        with self._lock:
            waiting = [watched.request for watched in self._watched.values() if watched.request is not None]
        for message in waiting:
            self._send(message)

    # Listening -------------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        look_at = time.monotonic() + _LOOK_SECONDS
        while not self._closing:
            for descriptor, _ in self._poll.poll(max(0.0, look_at - time.monotonic())):
                if descriptor == self._events:
                    self._take_events()
                elif descriptor == self._wake:
                    os.read(self._wake, 4096)
                elif descriptor == self._requests.fileno():
                    self._replace_launcher()
                elif (key := self._by_descriptor.get(descriptor)) is not None:
                    self._take_events()  # its last word may still be in the queue
                    self._examine(key)
            if time.monotonic() >= look_at:
                self._look_around()
                look_at = time.monotonic() + _LOOK_SECONDS

    def _take_events(self) -> None:
        while True:
            try:
                data = os.read(self._events, _READ_BYTES)
            except BlockingIOError:
                return
            *lines, self._partial = (self._partial + data).split(b"\n")
            for line in lines:
                try:
                    key, event, value = json.loads(line.decode())
                except ValueError:
                    continue
                self._take_event(key, event, value)

    def _take_event(self, key: str, event: str, value: dict[str, Any] | None) -> None:
        watched = self._watched.get(key)
        if watched is None:
            return
        if event == "started":
            value = value or folder.read_record(self._state.task(key))[0]
            if value is None:
                return
            watched.pid, watched.ticks, watched.request = value["pid"], value["start_ticks"], None
            if watched.stop_asked:  # perhaps after the shim had looked, and before we could nudge it
                self._nudge(key)
        elif event == "ended":
            value = value or folder.read_record(self._state.task(key))[1]
            if value is None:
                return
            self._unwatch(key)
        self._on_event(key, event, value)

    def _look_around(self) -> None:
        """Find what was not told: shims that were killed, events that did not fit, progress."""
        now = time.monotonic()
        for key, watched in list(self._watched.items()):
            if watched.descriptor is not None:
                self._report_progress(key, watched)
            elif now - watched.since > _SETTLED_SECONDS:
                if watched.pid == 0:
                    start, end, _ = folder.read_record(self._state.task(key))
                    if start is None:
                        self._ask_again(watched, now)
                        continue
                    self._take_event(key, "started", start)
                    if end is None:
                        self._on_event(key, "running", None)
                self._watch_process(key, watched)

    def _watch_process(self, key: str, watched: _Watched) -> None:
        try:
            descriptor = os.pidfd_open(watched.pid)
        except OSError as error:
            if error.errno == errno.EMFILE:
                return
            self._examine(key)
            return
        if processes.start_ticks(watched.pid) != watched.ticks:
            os.close(descriptor)
            self._examine(key)
            return
        watched.descriptor = descriptor
        self._by_descriptor[descriptor] = key
        self._poll.register(descriptor, select.EPOLLIN)

    def _report_progress(self, key: str, watched: _Watched) -> None:
        progress = last_progress(self._state.task(key))
        if progress is not None and progress != watched.progress:
            watched.progress = progress
            self._on_event(key, "progress", progress)

    def _ask_again(self, watched: _Watched, now: float) -> None:
        """The shim that was to take it up may have been killed before it could; claims make asking twice harmless."""
        if watched.request is not None and now - watched.asked_at > _ASK_AGAIN_SECONDS:
            watched.asked_at = now
            self._send(watched.request)

    def _examine(self, key: str) -> None:
        """The shim seems to be gone: with a result the task has ended, without one it is lost."""
        if key not in self._watched:
            return
        start, end, alive = folder.read_record(self._state.task(key))
        if end is None:
            if alive:
                return
            end = self._lose(key, start or {}, _SHIM_DIED)
        self._unwatch(key)
        self._on_event(key, "ended", end)

    def _lose(self, key: str, start: dict[str, Any], why: str) -> dict[str, Any]:
        """Kill what a task without a shim left behind, then record that it is lost."""
        kill_survivors(start, self._state.boot)
        end = {
            **ended_unseen("task_lost", why),
            "started_at": start.get("started_at"),
            "progress": last_progress(self._state.task(key)),
            "log_bytes": None,  # nobody knows how far it came
        }
        reach("executor.before_lost")
        with contextlib.suppress(OSError):
            end = folder.finish_for_dead_shim(self._state.task(key), end)
        reach("executor.after_lost")
        return end

    def _nudge(self, key: str) -> None:
        """Tell the shim to look at its stop file. One that has not started yet will look by itself."""
        watched = self._watched.get(key)
        if watched is not None and watched.pid:
            processes.send(watched.pid, watched.ticks, signal.SIGUSR1)

    def nudge_all(self) -> None:
        """Have every shim look at the lease again."""
        for key in list(self._watched):
            self._nudge(key)

    def _unwatch(self, key: str) -> None:
        watched = self._watched.pop(key, None)
        if watched is not None and watched.descriptor is not None:
            del self._by_descriptor[watched.descriptor]
            self._poll.unregister(watched.descriptor)
            os.close(watched.descriptor)
