"""The clocks of an agent: one for decisions, one for people.

Guarantees: `boot_seconds` never goes back and goes on while the machine sleeps; it means something only together with
`boot_id`, which is new after each start of the machine.
"""

from __future__ import annotations

import time


def boot_seconds() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def timestamp(nanoseconds: int | None = None) -> str:
    """RFC 3339 in UTC with microseconds."""
    seconds, rest = divmod(time.time_ns() if nanoseconds is None else nanoseconds, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest // 1000:06d}Z"
