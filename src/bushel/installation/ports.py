"""Which ports are free, and who holds one that is not.

Guarantees: asking changes nothing on the machine; a holder is named from the kernel's own tables, and only as far as
this user may look: the processes of others are told by their user.
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LISTEN = "0A"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who listens. `pid` and `command` are None when the process belongs to somebody that this user may not look at."""

    user: str
    pid: int | None = None
    command: str | None = None

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.command}, user {self.user})" if self.pid else f"a process of user {self.user}"


def is_free(host: str, port: int) -> bool:
    """Whether somebody could listen there now."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError:
            return False
    return True


def free_port(host: str) -> int:
    """A port that was free a moment ago."""
    family, _, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    with socket.socket(family) as probe:
        probe.bind(address)
        return probe.getsockname()[1]


def holder(port: int) -> Holder | None:
    """Who listens on `port` of any address of this machine; None when nobody does."""
    listeners = dict(_listeners(port))
    if not listeners:
        return None
    for inode in listeners:
        pid = _pid_of_socket(inode)
        if pid is not None:
            return Holder(_user(os.stat(f"/proc/{pid}").st_uid), pid, _command(pid))
    return Holder(_user(next(iter(listeners.values()))))


def _listeners(port: int) -> Iterator[tuple[str, int]]:
    """Inode and user of each listening socket on a port, from proc(5)."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(FileNotFoundError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9], int(fields[7])


def _pid_of_socket(inode: str) -> int | None:
    wanted = f"socket:[{inode}]"
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with suppress(OSError):
            for descriptor in os.scandir(process / "fd"):
                with suppress(OSError):
                    if os.readlink(descriptor.path) == wanted:
                        return int(process.name)
    return None


def _command(pid: int) -> str:
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        text = b" ".join(word for word in words if word).decode(errors="replace")
        if text:
            return text if len(text) <= 80 else text[:79] + "…"
    return "unknown"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
