"""The client library. `Client` blocks, `AsyncClient` is for asyncio; both do the same.

    from bushel.client import Client

    with Client() as bushel:
        job = bushel.submit(run="python train.py", resources={"gpu": 1}, workdir=".")
        print(job.result(timeout=3600)["status"])

Names are imported when they are used, so that the command line pays for none of this.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bushel.client.async_client import AsyncClient
    from bushel.client.async_futures import AsyncJobFuture
    from bushel.client.errors import (
        BushelError,
        Conflict,
        FieldProblem,
        Forbidden,
        Gone,
        InvalidDocument,
        JobCancelled,
        JobFailed,
        KeyReused,
        LogStreamLost,
        NoContext,
        NotFound,
        QuotaExceeded,
        Refused,
        TooLarge,
        Unauthenticated,
        Unavailable,
        Unreachable,
    )
    from bushel.client.futures import JobFuture, as_completed, wait
    from bushel.client.log_records import LogNotice, LogRecord
    from bushel.client.sync_client import Client

_WHERE = {
    "bushel.client.async_client": ("AsyncClient",),
    "bushel.client.async_futures": ("AsyncJobFuture",),
    "bushel.client.errors": (
        "BushelError",
        "Conflict",
        "FieldProblem",
        "Forbidden",
        "Gone",
        "InvalidDocument",
        "JobCancelled",
        "JobFailed",
        "KeyReused",
        "LogStreamLost",
        "NoContext",
        "NotFound",
        "QuotaExceeded",
        "Refused",
        "TooLarge",
        "Unauthenticated",
        "Unavailable",
        "Unreachable",
    ),
    "bushel.client.futures": ("JobFuture", "as_completed", "wait"),
    "bushel.client.log_records": ("LogNotice", "LogRecord"),
    "bushel.client.sync_client": ("Client",),
}

__all__ = [
    "AsyncClient",
    "AsyncJobFuture",
    "BushelError",
    "Client",
    "Conflict",
    "FieldProblem",
    "Forbidden",
    "Gone",
    "InvalidDocument",
    "JobCancelled",
    "JobFailed",
    "JobFuture",
    "KeyReused",
    "LogNotice",
    "LogRecord",
    "LogStreamLost",
    "NoContext",
    "NotFound",
    "QuotaExceeded",
    "Refused",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "Unreachable",
    "as_completed",
    "wait",
]


def __getattr__(name: str) -> object:
    for module, names in _WHERE.items():
        if name in names:
            from importlib import import_module

            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
