"""A small process that hands tasks to shims, so that a task costs far less than a start of Python.

It is given two inherited descriptors: a stream socket from the agent, and the queue to it. A request is four bytes of
length, then JSON. It goes to a shim that rests, or to a new one, a fork; a shim says with one byte that it rests.
Nothing of a request, secrets included, is ever written to disk.

Guarantees: killing the launcher loses at most requests that no shim has marked as started; shims go on. When the
agent ends, it stays for as long as one of its shims works, because it is also the first to see that a shim was
killed, and then kills the whole tree of that task, whether or not there is an agent.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import time
import traceback

from bushel.agent import clock
from bushel.agent.executors.local import folder, processes
from bushel.agent.executors.local.cgroups import Limiter
from bushel.agent.executors.local.survivors import kill_survivors
from bushel.agent.executors.local.worker import Worker
from bushel.domain.failpoints import reach

LENGTH_BYTES = 4
REST_SECONDS = 3.0
"""A shim that rested for so long is let go."""

BOOTSTRAP = "import sys; sys.path.insert(0, sys.argv.pop(1)); from bushel.agent.executors.local.launcher import main; main()"
"""For `python -I -S -c`, then the folder of the package and the two descriptors: the site packages would only cost memory."""

_RESTS = b"r"


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # how shims end is seen at their sockets
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR1,))  # a shim is told to look again before it can listen
    processes.set_name(b"bushel-launcher")
    gc.collect()
    gc.freeze()
    Launcher(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])).serve()


class _Shim:
    __slots__ = ("body", "pid", "rests_since", "socket")

    def __init__(self, pid: int, connected: socket.socket) -> None:
        self.pid = pid
        self.socket = connected
        self.body: bytes | None = None  # what it works on
        self.rests_since = 0.0


class Launcher:
    def __init__(self, agent: socket.socket, events: int) -> None:
        self._agent: socket.socket | None = agent
        self._events = events
        self._shims: dict[int, _Shim] = {}  # by descriptor
        self._resting: list[_Shim] = []  # the one that rested last is the warmest
        self._poll = select.poll()
        self._poll.register(agent, select.POLLIN)
        self._boot = clock.boot_id()
        self._last_body = b""

    def serve(self) -> None:
        """Until the agent is gone and no shim works."""
        while self._agent is not None or len(self._resting) < len(self._shims):
            for descriptor, _ in self._poll.poll(REST_SECONDS * 1000 if self._resting else None):
                if self._agent is not None and descriptor == self._agent.fileno():
                    self._take_request()
                elif descriptor in self._shims:
                    self._hear(self._shims[descriptor])
            self._let_go()
        self._remove_groups()

    def _take_request(self) -> None:
        agent = self._agent
        if agent is None:
            return
        body = receive(agent.fileno())
        if body is None:
            self._poll.unregister(agent)
            agent.close()
            self._agent = None
            return
        worker = self._resting.pop() if self._resting else self._fork()
        worker.body = body
        self._last_body = body
        reach("launcher.before_hand_over")
        try:
            worker.socket.sendall(len(body).to_bytes(LENGTH_BYTES, "big") + body)
        except OSError:  # it was killed while it rested; the agent asks again for what nobody marked as started
            return
        reach("launcher.after_hand_over")

    def _fork(self) -> _Shim:
        ours, its = socket.socketpair()
        reach("launcher.before_fork")
        pid = os.fork()
        if pid == 0:
            ours.close()
            self._become_shim(its)
        reach("launcher.after_fork")
        its.close()
        new = _Shim(pid, ours)
        self._shims[ours.fileno()] = new
        self._poll.register(ours, select.POLLIN)
        return new

    def _become_shim(self, launcher: socket.socket) -> None:
        status = 1
        try:
            if self._agent is not None:
                self._agent.close()
            for other in self._shims.values():
                other.socket.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            worker = Worker(self._events)
            while (body := receive(launcher.fileno())) is not None:
                worker.run(json.loads(body))
                launcher.send(_RESTS)
            worker.close()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def _hear(self, worker: _Shim) -> None:
        try:
            said = worker.socket.recv(16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if said:
            worker.body = None
            worker.rests_since = time.monotonic()
            self._resting.append(worker)
            return
        self._drop(worker)
        if worker.body is not None:
            self._clear_up(worker.pid, json.loads(worker.body))

    def _clear_up(self, pid: int, request: dict[str, object]) -> None:
        """A shim died at work: what it left running has nobody who would stop it."""
        try:
            start, end, _ = folder.read_record(str(request["folder"]))
            if start and end is None and start["pid"] == pid:
                kill_survivors(start, self._boot)
        except (OSError, ValueError, KeyError):
            traceback.print_exc()

    def _remove_groups(self) -> None:
        """Whoever is last puts out the light. Version 2's would lose its controllers under an agent that has just come back."""
        if self._last_body:
            parents = json.loads(self._last_body)["cgroups"]
            if "" not in parents:
                Limiter("v1", parents).close()

    def _drop(self, worker: _Shim) -> None:
        self._poll.unregister(worker.socket)
        del self._shims[worker.socket.fileno()]
        worker.socket.close()
        if worker in self._resting:
            self._resting.remove(worker)

    def _let_go(self) -> None:
        """Closing its socket ends a resting shim. It is ours to decide, so no request is ever sent to one that leaves."""
        before = time.monotonic() - REST_SECONDS
        while self._resting and (self._agent is None or self._resting[0].rests_since < before):
            self._drop(self._resting[0])


def receive(descriptor: int) -> bytes | None:
    """One whole request, or None when the other side is gone."""
    length = _exactly(descriptor, LENGTH_BYTES)
    return None if length is None else _exactly(descriptor, int.from_bytes(length, "big"))


def _exactly(descriptor: int, count: int) -> bytes | None:
    pieces = []
    while count:
        piece = os.read(descriptor, min(count, 1024 * 1024))
        if not piece:
            return None
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)
