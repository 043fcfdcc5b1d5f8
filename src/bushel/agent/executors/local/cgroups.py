"""Limits on a task's whole tree of processes, by the kernel's control groups, version 1 or 2, or by resource limits of
each process.

Guarantees: groups lie below the agent's own (never beside or above it), under a name made from the state folder, so
that two agents do not meet; the shim of a task is not in its groups, so that a task out of memory never takes its
watcher along; what a dead shim left running can be found, and killed with no chance of hitting anything else, by its
group.

What is in force where, in words for people, is `Limiter.describe`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import signal
import time

from bushel.agent.executors.local import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_ROOT = "/sys/fs/cgroup"
_PERIOD_MICROSECONDS = 100_000
_LEAST_QUOTA_MICROSECONDS = 1000
PROCESSES_LIMIT = 8192
"""Most processes and threads of one task, so that one that multiplies without end stops by itself."""

_V1_CONTROLLERS = ("memory", "cpu", "pids")
_V2_SHIMS = "shims"  # processes may only be in leaves of version 2
_LEFT_BEHIND_BYTES = 8 * 1024 * 1024


class Limiter:
    """Which kind of limits this machine lets us set, found once by trying. Kinds: `v2`, `v1`, `rlimits`."""

    def __init__(self, kind: str, parents: Mapping[str, str]) -> None:
        self.kind = kind
        self.parents = dict(parents)  # controller (or "" for version 2) → the folder in which each task gets one

    @classmethod
    def detect(cls, state_folder: str) -> Limiter:
        """Make the parent groups, or settle for resource limits."""
        name = f"bushel-{hashlib.sha256(os.path.realpath(state_folder).encode()).hexdigest()[:12]}"
        own = _own_groups()
        return _try_v2(own, name) or _try_v1(own, name) or cls.without_groups()

    @classmethod
    def without_groups(cls) -> Limiter:
        """Resource limits of each process, also where control groups could be had."""
        return cls("rlimits", {})

    def describe(self) -> dict[str, str]:
        """How each limit is held, for the node's detail."""
        if self.kind == "rlimits":
            return {
                "kind": "resource limits",
                "because": "the agent has no control groups that it may write to, or was told to do without",
                "memory": "each process of a task alone (RLIMIT_DATA), not their sum",
                "cpu": "not limited",
                "processes": "not limited",
                "out_of_memory": "cannot be told apart from other failures",
            }
        version = "2" if self.kind == "v2" else "1"
        return {
            "kind": f"control groups version {version}",
            "memory": "the sum over a task's processes",
            "cpu": "the sum over a task's processes, as time in each 100 ms",
            "processes": f"{PROCESSES_LIMIT} of a task",
            "out_of_memory": "told apart by the kernel's count",
        }

    def sweep(self) -> None:
        """Remove what shims that were killed left behind, where nothing is left in it."""
        for parent in self.parents.values():
            for name in _names(parent):
                pid, _, rest = name.partition(".")
                if pid.isdecimal() and str(processes.start_ticks(int(pid))) != rest.partition(".")[0]:
                    with contextlib.suppress(OSError):
                        os.rmdir(f"{parent}/{name}")

    def close(self) -> None:
        """Remove the parent groups if no task is left in them."""
        for controller, parent in self.parents.items():
            with contextlib.suppress(OSError):
                if not controller:
                    os.rmdir(f"{parent}/{_V2_SHIMS}")
                os.rmdir(parent)


class TaskGroups:
    """The control groups of one task, as its shim and, after the shim's death, others use them."""

    def __init__(self, paths: Mapping[str, str]) -> None:
        self.paths = dict(paths)

    @property
    def _members(self) -> str:
        """The group that tells who belongs to the task."""
        return self.paths.get("", self.paths.get("pids", self.paths.get("memory", "")))

    def enter(self) -> None:
        """Put the calling process in, so that what it starts is born inside.

        Raises:
            OSError: the kernel refused.
        """
        for path in self.paths.values():
            _put_here(path)

    def leave(self) -> None:
        """Take the calling process out again: what happens to the task must not happen to its shim."""
        for controller, path in self.paths.items():
            parent = os.path.dirname(path)
            _put_here(parent if controller else f"{parent}/{_V2_SHIMS}")

    def members(self) -> list[int]:
        """Who is in them now."""
        if not self._members:
            return []
        return [int(line) for line in _read(f"{self._members}/cgroup.procs").split()]

    def kill(self) -> bool:
        """Kill all members, also those being born. False when some may be left."""
        if not self._members:
            return True
        if "" in self.paths and _write(f"{self._members}/cgroup.kill", 1):
            return not self.members()
        _write(f"{self._members}/pids.max", 0)  # nobody is born while we count
        members = self.members()
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not members

    def peak_memory_bytes(self) -> int | None:
        for path in self._memory_files("memory.peak", "memory.max_usage_in_bytes"):
            text = _read(path)
            if text:
                return int(text)
        return None

    def out_of_memory_kills(self) -> int:
        """How many processes the kernel killed because the group was full."""
        for path in self._memory_files("memory.events", "memory.oom_control"):
            for line in _read(path).splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    return int(value)
        return 0

    def _memory_files(self, v2: str, v1: str) -> list[str]:
        if "" in self.paths:
            return [f"{self.paths['']}/{v2}"]
        return [f"{self.paths['memory']}/{v1}"] if "memory" in self.paths else []

    def remove(self, timeout_seconds: float = 0.2) -> None:
        """Remove the empty groups. The kernel may need a moment after the last member has gone."""
        deadline = time.monotonic() + timeout_seconds
        for path in self.paths.values():
            while True:
                try:
                    os.rmdir(path)
                except OSError as error:
                    if error.errno == errno.EBUSY and time.monotonic() < deadline:
                        time.sleep(0.002)
                        continue
                break


class SlotGroups(TaskGroups):
    """The groups that a shim uses for one task after another: with version 1 they are made once, because making them costs more
    than a small task. They are made anew when a task left memory behind in them.
    """

    def __init__(self, name: str) -> None:
        super().__init__({})
        self._name = name
        self._made = 0
        self._limits: tuple[int, int] | None = None
        self._memory_before = 0
        self._kills_before = 0

    def prepare(self, parents: Mapping[str, str], *, cpu_milli: int, memory_bytes: int) -> None:
        """Have empty groups with these limits. An amount of 0 is no limit. No parents: no groups.

        Raises:
            OSError: the kernel refused.
        """
        if self.paths and (self._limits != (cpu_milli, memory_bytes) or "" in self.paths or self._left_behind()):
            self.remove()
            self.paths = {}
        if not self.paths and parents:
            self._made += 1
            self.paths = {controller: f"{parent}/{self._name}.{self._made}" for controller, parent in parents.items()}
            self._limits = (cpu_milli, memory_bytes)
            self._make(cpu_milli, memory_bytes)
        self._kills_before = super().out_of_memory_kills()
        self._memory_before = 0
        if "memory" in self.paths:
            _write(f"{self.paths['memory']}/memory.max_usage_in_bytes", 0)
            self._memory_before = super().peak_memory_bytes() or 0

    def kill(self) -> bool:
        self._limits = None  # nobody can be born in them any more
        return super().kill()

    def peak_memory_bytes(self) -> int | None:
        peak = super().peak_memory_bytes()
        return None if peak is None else max(0, peak - self._memory_before)

    def out_of_memory_kills(self) -> int:
        return super().out_of_memory_kills() - self._kills_before

    def _left_behind(self) -> bool:
        return int(_read(f"{self.paths['memory']}/memory.usage_in_bytes") or 0) > _LEFT_BEHIND_BYTES

    def _make(self, cpu_milli: int, memory_bytes: int) -> None:
        for path in self.paths.values():
            try:
                os.mkdir(path)
            except FileNotFoundError:  # an agent that ended removed the empty parent
                os.makedirs(path, exist_ok=True)
        quota = max(cpu_milli * _PERIOD_MICROSECONDS // 1000, _LEAST_QUOTA_MICROSECONDS)
        if "" in self.paths:
            here = self.paths[""]
            _write(f"{here}/pids.max", PROCESSES_LIMIT)
            if memory_bytes:
                _write(f"{here}/memory.max", memory_bytes)
                _write(f"{here}/memory.swap.max", 0)
            if cpu_milli:
                _write(f"{here}/cpu.max", f"{quota} {_PERIOD_MICROSECONDS}")
                _write(f"{here}/cpu.weight", min(max(cpu_milli // 10, 1), 10_000))
            return
        if "pids" in self.paths:
            _write(f"{self.paths['pids']}/pids.max", PROCESSES_LIMIT)
        if memory_bytes:
            _write(f"{self.paths['memory']}/memory.limit_in_bytes", memory_bytes)
            _write(f"{self.paths['memory']}/memory.memsw.limit_in_bytes", memory_bytes)
        if cpu_milli and "cpu" in self.paths:
            _write(f"{self.paths['cpu']}/cpu.cfs_quota_us", quota)
            _write(f"{self.paths['cpu']}/cpu.shares", max(cpu_milli * 1024 // 1000, 2))


def _own_groups() -> dict[str, str]:
    """Controller → our group. Version 2 is the empty name."""
    own = {}
    for line in _read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            own[controller] = path
    return own


def _try_v1(own: Mapping[str, str], name: str) -> Limiter | None:
    parents: dict[str, str] = {}
    for controller in _V1_CONTROLLERS:
        if controller not in own:
            continue
        group = f"{_ROOT}/{controller}{own[controller].rstrip('/')}"
        if not os.path.isdir(group):  # inside a container the mount starts at our own group
            group = f"{_ROOT}/{controller}"
        parent = f"{group}/{name}"
        if _usable(parent):
            parents[controller] = parent
    return Limiter("v1", parents) if "memory" in parents else None


def _try_v2(own: Mapping[str, str], name: str) -> Limiter | None:
    """Below our own group if it may have children with controllers, else beside it, below its parent."""
    if "" not in own or not os.path.exists(f"{_ROOT}/cgroup.controllers"):
        return None
    here = f"{_ROOT}{own['']}".rstrip("/")
    for group in (here, os.path.dirname(here)):
        if not group.startswith(_ROOT):
            continue
        for controller in ("memory", "cpu", "pids"):
            _write(f"{group}/cgroup.subtree_control", f"+{controller}")
        if "memory" not in _read(f"{group}/cgroup.subtree_control").split():
            continue
        parent = f"{group}/{name}"
        if not _usable(parent):
            continue
        for controller in ("memory", "cpu", "pids"):
            _write(f"{parent}/cgroup.subtree_control", f"+{controller}")
        if "memory" in _read(f"{parent}/cgroup.subtree_control").split() and _usable(f"{parent}/{_V2_SHIMS}"):
            return Limiter("v2", {"": parent})
    return None


def _usable(parent: str) -> bool:
    try:
        os.makedirs(parent, exist_ok=True)
    except OSError:
        return False
    return os.access(f"{parent}/cgroup.procs", os.W_OK)


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _put_here(path: str) -> None:
    descriptor = os.open(f"{path}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, b"0")
    finally:
        os.close(descriptor)


def _read(path: str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        pieces = []
        while piece := os.read(descriptor, 65536):
            pieces.append(piece)
        return b"".join(pieces).decode()
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def _write(path: str, value: object) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(descriptor, str(value).encode())
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
