"""The scheduler's kernels are compiled while it already serves.

Guarantees: no plan waits for a compiler. Until the kernels are there their plain twins serve, which decide the same; a process of its
own compiles what this machine has not compiled yet, and if it cannot, the plain ones go on. It is begun once in a process, and only
where there is enough to plan for it to matter.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading

from bushel.scheduling.kernels.mode import serve_compiled
from bushel.scheduling.kernels.rehearsal import rehearse

_COMPILE_SECONDS = 600.0
_NODES_ENOUGH = 50
_JOBS_ENOUGH = 2000

log = logging.getLogger(__name__)
_begun = threading.Lock()


def compile_meanwhile(nodes: int, jobs: int) -> None:
    """Begin, if nobody has and this many nodes and waiting jobs are worth it."""
    if (nodes >= _NODES_ENOUGH or jobs >= _JOBS_ENOUGH) and _begun.acquire(blocking=False):
        threading.Thread(target=_compile, name="kernels", daemon=True).start()


def _compile() -> None:
    try:
        command = [sys.executable, "-m", "bushel.scheduling.kernels.rehearsal"]
        subprocess.run(command, check=True, capture_output=True, timeout=_COMPILE_SECONDS)
        rehearse()  # loads them, so that no plan has to
        serve_compiled()
    except (OSError, subprocess.SubprocessError, ImportError) as error:
        log.warning("plans are made without compiled kernels: %s", error)
