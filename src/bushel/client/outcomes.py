"""What becomes of a job, out of what the API says of it: shared by both kinds of future."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bushel.client.errors import JobCancelled, JobFailed

if TYPE_CHECKING:
    from bushel.client.sse import ServerEvent
    from bushel.spec.views import JobView

TERMINAL_STATES = frozenset({"succeeded", "failed", "cancelled"})
TERMINAL_KINDS = ("job.succeeded", "job.failed", "job.cancelled")


def has_ended(job: Mapping[str, Any]) -> bool:
    return job["status"]["state"] in TERMINAL_STATES


def failure_of(job: JobView) -> JobFailed | JobCancelled | None:
    """The error that an ended job stands for; None if it succeeded."""
    status, name = job["status"], f"{job['metadata']['name']} ({job['metadata']['id']})"
    why = status["message"] or (f"exit code {status['exit_code']}" if status["exit_code"] else status["reason"] or "")
    if status["state"] == "failed":
        return JobFailed(f"{name} failed" + (f": {why}" if why else ""), job)
    if status["state"] == "cancelled":
        return JobCancelled(f"{name} was cancelled" + (f": {status['message']}" if status["message"] else ""), job)
    return None


def ended_job(event: ServerEvent) -> str | None:
    """The id of the job whose end `event` tells."""
    if event.event != "message":
        return None
    told = json.loads(event.data)
    return told.get("job") if told.get("kind") in TERMINAL_KINDS else None
