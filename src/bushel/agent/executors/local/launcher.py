"""A small process that does nothing but fork shims, so that a task costs a fork instead of a start of Python.

It is given two inherited descriptors: a stream socket from the agent, and the queue to it. A request is four bytes of length,
then JSON. Nothing of it, secrets included, is ever written to disk.

Guarantees: it has one thread and no state: killing it loses at most requests that no shim has marked as started; it ends
when the agent does, and shims go on.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import traceback

from bushel.agent.executors.local import processes, shim
from bushel.domain.failpoints import reach

LENGTH_BYTES = 4

BOOTSTRAP = "import sys; sys.path.insert(0, sys.argv.pop(1)); from bushel.agent.executors.local.launcher import main; main()"
"""For `python -I -S -c`, then the folder of the package and the two descriptors: the site packages would only cost memory."""


def main() -> None:
    serve(int(sys.argv[1]), int(sys.argv[2]))


def serve(requests: int, events: int) -> None:
    """Fork a shim for each request until the agent is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # shims are nobody's to wait for
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR1,))  # a shim is told to look again before it can listen
    processes.set_name(b"bushel-launcher")
    gc.disable()
    gc.freeze()
    while True:
        body = _receive(requests)
        if body is None:
            return
        reach("launcher.before_fork")
        if os.fork() == 0:
            _become_shim(body, requests, events)
        reach("launcher.after_fork")


def _become_shim(body: bytes, requests: int, events: int) -> None:
    status = 1
    try:
        os.close(requests)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        shim.run(json.loads(body), events)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _receive(descriptor: int) -> bytes | None:
    """One whole request, or None when the agent is gone."""
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
