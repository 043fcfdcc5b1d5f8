"""The folder in which an agent keeps all that it must not forget.

Guarantees: one agent at a time uses a folder (a lock that goes with the process); `incarnation` is made with the
folder and never changes; `generation` grows with each start, so that what a later process reports is newer than what
an earlier one did; a folder from before the machine was started says so (`rebooted`) until everything in it was
marked lost and `settle` was called.

    agent.lock   held by the agent; its process id and start time inside
    identity.json, lease.json, park
    tasks/       see executors.local.folder
    spares/      folders of tasks to come; see executors.local.spares
    cache/       workdir archives by digest
    checkpoints/ what tasks keep from one attempt to the next
    events       the queue from shims to the agent
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets

from bushel.agent import clock
from bushel.agent.executors.local import folder, processes
from bushel.agent.lease import LEASE_FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PARK_FILE = "park"
_LOCK_FILE = "agent.lock"


class InUse(Exception):
    """Another agent holds the folder. `pid` and `ticks` name its process, where that is known."""

    def __init__(self, path: str, pid: int | None, ticks: int | None) -> None:
        super().__init__(f"another agent uses {path}" + (f" (process {pid})" if pid else ""))
        self.pid = pid
        self.ticks = ticks


class StateFolder:
    def __init__(self, path: str, lock: int, identity: dict[str, Any]) -> None:
        self.path = path
        self.boot = clock.boot_id()
        self.incarnation: str = identity["incarnation"]
        self.generation: int = identity["generation"]
        self.rebooted: bool = identity["boot_id"] != self.boot
        self._lock = lock
        self._identity = identity

    @classmethod
    def open(cls, path: str) -> StateFolder:
        """Take the folder, making it if need be.

        Raises:
            InUse: another agent holds it.
            OSError: it cannot be made or written.
        """
        path = os.path.abspath(path)
        for name in ("", "tasks", "spares", "cache", "checkpoints"):
            os.makedirs(os.path.join(path, name), mode=0o700, exist_ok=True)
        lock = _lock(path)
        with contextlib.suppress(FileExistsError):
            os.mkfifo(os.path.join(path, "events"), 0o600)
        identity = folder.read(path, "identity.json")
        if identity is None:
            identity = {"incarnation": secrets.token_hex(12), "generation": 0, "boot_id": clock.boot_id()}
        identity["generation"] += 1
        folder.replace(os.path.join(path, "identity.json"), identity)
        return cls(path, lock, identity)

    @property
    def tasks(self) -> str:
        return f"{self.path}/tasks"

    @property
    def spares(self) -> str:
        return f"{self.path}/spares"

    @property
    def events(self) -> str:
        return f"{self.path}/events"

    @property
    def lease(self) -> str:
        return f"{self.path}/{LEASE_FILE}"

    def task(self, key: str) -> str:
        return f"{self.path}/tasks/{key}"

    def checkpoints(self, job: str, index: int) -> str:
        return f"{self.path}/checkpoints/{job}.{index}"

    def settle(self) -> None:
        """Nothing from before this start of the machine is open any more."""
        self.rebooted = False
        self._identity["boot_id"] = self.boot
        folder.replace(f"{self.path}/identity.json", self._identity)

    def is_ours(self) -> bool:
        """False once the folder was taken away, or another put in its place."""
        try:
            there, held = os.stat(f"{self.path}/{_LOCK_FILE}"), os.fstat(self._lock)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)

    def parking_is_asked(self) -> bool:
        return os.path.exists(f"{self.path}/{PARK_FILE}")

    def close(self) -> None:
        os.close(self._lock)


def _lock(path: str) -> int:
    descriptor = os.open(os.path.join(path, _LOCK_FILE), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 200, 0)
        os.close(descriptor)
        try:
            pid, ticks = json.loads(holder)
        except ValueError:
            pid = ticks = None
        raise InUse(path, pid, ticks) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps([os.getpid(), processes.start_ticks(os.getpid())]).encode(), 0)
    return descriptor
