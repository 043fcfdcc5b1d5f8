"""CPU time of everything that a benchmark has started, whoever's child it has become meanwhile.

What is orphaned becomes a child of this process (`PR_SET_CHILD_SUBREAPER`), so nothing leaves the tree under it. A machine that is busy
with other things lengthens seconds by the clock, and these hardly.
"""

from __future__ import annotations

import ctypes
import os
import resource
from contextlib import suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


def adopt_orphans() -> None:
    """Call it before anything is started."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def tree_seconds() -> float:
    """Of all that lives below this process and of all below it that has ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    parents: dict[int, list[int]] = {}
    seconds: dict[int, float] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        with suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(") ")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(folder.name))
            seconds[int(folder.name)] = sum(map(int, fields[11:15])) * _TICK_SECONDS
    below, total = list(parents.get(os.getpid(), ())), ended.ru_utime + ended.ru_stime
    while below:
        one = below.pop()
        total += seconds[one]
        below += parents.get(one, ())
    return total
