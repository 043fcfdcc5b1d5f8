"""What a task used, read from the kernel when its processes have ended.

Guarantees: CPU time and I/O cover every process of the tree that was waited for, by its parent or, as an orphan, by
the shim. Peak memory is the sum over the tree where a control group counts it, otherwise the largest single process.
"""

from __future__ import annotations

import os
import resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bushel.agent.executors.local.cgroups import TaskGroups
    from bushel.spec.agent import TaskUsage


class UsageMeter:
    """The kernel adds the I/O of a waited-for child to its parent's: so ours before and after each wait tells the child's."""

    def __init__(self) -> None:
        try:
            self._io: int | None = os.open("/proc/self/io", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._io = None
        self._before = (0, 0)
        self._cpu_before = _cpu_seconds()
        self.largest_process_bytes = 0
        self.read_bytes = 0
        self.written_bytes = 0

    def before_wait(self) -> None:
        self._before = self._own()

    def after_wait(self, of_one: resource.struct_rusage | None) -> None:
        """`of_one`: what the kernel says of the process that was waited for."""
        if of_one is not None:
            self.largest_process_bytes = max(self.largest_process_bytes, of_one.ru_maxrss * 1024)
        read, written = self._own()
        self.read_bytes += read - self._before[0]
        self.written_bytes += written - self._before[1]

    def total(self, groups: TaskGroups) -> TaskUsage:
        return {
            "cpu_seconds": round(_cpu_seconds() - self._cpu_before, 6),
            "peak_memory_bytes": groups.peak_memory_bytes() or self.largest_process_bytes,
            "read_bytes": self.read_bytes,
            "written_bytes": self.written_bytes,
        }

    def _own(self) -> tuple[int, int]:
        if self._io is None:
            return 0, 0
        values = dict(line.split(b": ") for line in os.pread(self._io, 512, 0).splitlines())
        return int(values[b"read_bytes"]), int(values[b"write_bytes"])

    def close(self) -> None:
        if self._io is not None:
            os.close(self._io)


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime
