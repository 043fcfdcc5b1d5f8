"""The supervisor as others see it: start it, send it word, wait for its end.

Guarantees: whether one lives is told by the lock that it holds, never by a pid in a file; a pid is only signalled while
that lock is held.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

from bushel.domain.errors import Unavailable
from bushel.installation.home import Home

STOP_SECONDS = 150.0
STOP_TASKS_SECONDS = 960.0
"""With the grace that tasks may take."""

_POLL_SECONDS = 0.02


def spawn(home: Home) -> subprocess.Popen[bytes]:
    """Start it on its own feet: it must outlive the terminal that started it."""
    home.status_file.unlink(missing_ok=True)
    log = os.open(home.part_logs / "supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "bushel.installation.supervisor", "--home", str(home.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    finally:
        os.close(log)


def send(home: Home, number: signal.Signals) -> bool:
    """Send a signal to the supervisor. Whether there was one."""
    pid = home.status().get("pid")
    if not home.supervised() or not isinstance(pid, int):
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, number)
    return True


def reload(home: Home) -> None:
    """Have it read again which agents there should be."""
    send(home, signal.SIGHUP)


def await_end(home: Home, *, within_seconds: float = STOP_SECONDS) -> None:
    """
    Raises:
        Unavailable: it still runs.
    """
    deadline = time.monotonic() + within_seconds
    while home.supervised():
        if time.monotonic() > deadline:
            raise Unavailable(f"the parts did not stop within {within_seconds:.0f} s", suggestion=f"look into {home.part_logs}")
        time.sleep(_POLL_SECONDS)
