"""Named points between two effects, at which a test can kill the process.

Guarantees: without `BUSHEL_FAILPOINT` in the environment a point costs one comparison. With `name` or `name@3` the
process ends by SIGKILL the first or third time it gets there: no handler runs, nothing is flushed, as in a power cut. Where
`BUSHEL_FAILPOINT_MARK` names a file, the kill happens only if that file can be made new: once among all processes that
share it, and whoever looks for the file learns whether the point was reached.
"""

from __future__ import annotations

import os
import signal

_armed, _, _countdown = os.environ.get("BUSHEL_FAILPOINT", "").partition("@")
_mark = os.environ.get("BUSHEL_FAILPOINT_MARK")
_remaining = int(_countdown or 1)


def reach(name: str) -> None:
    """Mark the point `name`, written `module.before_effect` or `module.after_effect`; a literal, so that a test can list them all."""
    if name != _armed:
        return
    global _remaining
    _remaining -= 1
    if _remaining == 0 and _first_here():
        os.kill(os.getpid(), signal.SIGKILL)


def _first_here() -> bool:
    if _mark is None:
        return True
    try:
        os.close(os.open(_mark, os.O_CREAT | os.O_EXCL, 0o644))
    except FileExistsError:
        return False
    return True
