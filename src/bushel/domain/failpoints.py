"""Named points between two effects, at which a test can kill the process.

Guarantees: without `BUSHEL_FAILPOINT` in the environment a point costs one look-up in an empty table. With `name`, or
`name@3,other`, the process ends by SIGKILL the first or third time it gets to one of them: no handler runs, nothing is
flushed, as in a power cut. Where `BUSHEL_FAILPOINT_MARKS` names a folder, the kill happens only if a file of the point's
name can be made new in it: once for each point among all processes, and whoever looks there learns what was reached.
"""

from __future__ import annotations

import os
import signal

_marks = os.environ.get("BUSHEL_FAILPOINT_MARKS")
_remaining: dict[str, int] = {}
for _point in filter(None, os.environ.get("BUSHEL_FAILPOINT", "").split(",")):
    _name, _, _countdown = _point.partition("@")
    _remaining[_name] = int(_countdown or 1)


def reach(name: str) -> None:
    """Mark the point `name`, written `module.before_effect` or `module.after_effect`; a literal, so that a test can list them all."""
    if name not in _remaining:
        return
    _remaining[name] -= 1
    if _remaining[name] == 0 and _first_among_all(name):
        os.kill(os.getpid(), signal.SIGKILL)


def _first_among_all(name: str) -> bool:
    if _marks is None:
        return True
    try:
        os.close(os.open(os.path.join(_marks, name), os.O_CREAT | os.O_EXCL, 0o644))
    except FileExistsError:
        return False
    return True
