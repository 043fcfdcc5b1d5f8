"""Logs: what tasks print. The stored form is described in `bushel.spec.logs`."""

from __future__ import annotations

from bushel.client.http1 import quote
from bushel.client.log_records import LogPage
from bushel.client.operation import Operation
from bushel.client.streams import STREAM_PATIENCE_SECONDS, Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def log_page(
    job: str,
    *,
    index: int | None = None,
    attempt: int | None = None,
    rank: int | None = None,
    stream: str | None = None,
    offset: int | None = None,
    limit_bytes: int | None = None,
    tail: int | None = None,
) -> Operation[LogPage]:
    """Records of one task's log from `offset` on, or the `tail` newest. Without `attempt` of the newest one."""

    def read(headers: Mapping[str, str], body: bytes) -> LogPage:
        return LogPage(headers, body, index=index or 0, attempt=attempt or 0, rank=rank or 0, offset=offset or 0)

    parameters = [
        ("index", index),
        ("attempt", attempt),
        ("rank", rank),
        ("stream", stream),
        ("offset", offset),
        ("limit_bytes", limit_bytes),
        ("tail", tail),
    ]
    return Operation("GET", f"/v1/jobs/{quote(job)}/logs", parameters=parameters, headers={"Accept": "text/plain"}, read=read)


def follow_logs(
    job: str,
    *,
    index: int | None = None,
    attempt: int | None = None,
    rank: int | None = None,
    stream: str | None = None,
    resume: str | None = None,
    patience_seconds: float = STREAM_PATIENCE_SECONDS,
) -> Stream:
    """All that is printed, until it has ended. `resume` is a position that was given before."""
    parameters = [("index", index), ("attempt", attempt), ("rank", rank), ("stream", stream)]
    path = f"/v1/jobs/{quote(job)}/logs/follow"
    return Stream(path, parameters, last_event_id=resume, last_event="end", patience_seconds=patience_seconds)
