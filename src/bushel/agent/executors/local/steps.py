"""The processes that make up a task, one after another: `unpack` the workdir, `setup`, `run`.

Guarantees: each is watched, limited and stopped like the others; what `unpack` says is for a message, what the others
say is the task's output.
"""

from __future__ import annotations

import os
import signal
import sys

import bushel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

UNPACK_DISK_FULL = 74  # EX_IOERR, as bushel.agent.archive.main says

_UNPACK = "import sys; sys.path.insert(0, sys.argv.pop(1)); from bushel.agent.archive import main; main()"
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(bushel.__file__)))


class Step:
    """One of the processes that a task consists of: `unpack`, `setup` or `run`."""

    __slots__ = ("argv", "by_shell", "env", "name")

    def __init__(self, name: str, argv: Sequence[str], env: Mapping[str, str], *, by_shell: bool = False) -> None:
        self.name = name
        self.argv = list(argv)
        self.env = env
        self.by_shell = by_shell  # its first process is a shell of ours, around a text of the user's


def steps_of(request: Mapping[str, Any]) -> list[Step]:
    """What there is to do, in order."""
    env = request["env"]
    steps = []
    if request["workdir"]:
        argv = [sys.executable, "-I", "-S", "-c", _UNPACK, _PACKAGE, request["workdir"], f"{request['folder']}/work"]
        steps.append(Step("unpack", argv, {}))
    if request["setup"]:
        steps.append(Step("setup", request["setup"], env, by_shell=True))
    steps.append(Step("run", request["run"], env, by_shell=request["by_shell"]))
    return steps


class Captured:
    """The first bytes of what a step of ours says, for a message instead of the log."""

    progress: bytes | None = None

    def __init__(self) -> None:
        self._kept = b""

    def feed(self, data: bytes) -> None:
        self._kept = (self._kept + data)[:2000]

    def text(self) -> str:
        return self._kept.decode(errors="replace").strip()


def status_text(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return (
            f"signal {number} ({signal.Signals(number).name})" if number in signal.valid_signals() and number < 32 else f"signal {number}"
        )
    return f"exit code {os.WEXITSTATUS(status)}"
