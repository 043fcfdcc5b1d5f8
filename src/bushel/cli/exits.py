"""What a command's exit code says. Public: scripts rely on it."""

from __future__ import annotations

OK = 0
ERROR = 1
USAGE = 2  # the command line or a document is wrong
UNREACHABLE = 3
AUTHENTICATION = 4
NOT_FOUND = 5
CONFLICT = 6
QUOTA = 7

JOB_FAILED = 100
JOB_NOT_FINISHED = 101
JOB_NOT_FOUND = 102
JOB_CANCELLED = 103

INTERRUPTED = 130
BROKEN_PIPE = 141
