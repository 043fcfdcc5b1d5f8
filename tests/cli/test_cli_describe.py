"""A job's story is told in the order in which its row changed."""

from __future__ import annotations

import argparse
from typing import Any

from bushel.cli.describe import story
from bushel.cli.session import Session


def event(kind: str, version: int, second: int, actor: str = "ada") -> dict[str, Any]:
    return {"kind": kind, "at": f"2026-01-01T00:00:{second:02}Z", "actor": actor, "body": {"version": version}}


def test_of_two_events_of_a_job_the_higher_version_is_told_later_whatever_the_clock_says() -> None:
    job = {
        "metadata": {
            "id": "k7q2m",
            "name": "story",
            "project": "home",
            "submitter": "ada",
            "submitted_at": "2026-01-01T00:00:00Z",
            "retry_of": None,
        },
        "spec": {"run": "true"},
        "status": {"state": "cancelled", "counts": {"total": 1, "cancelled": 1}, "reason": None, "message": None},
    }
    submitted, held, stopping = event("job.submitted", 1, 0), event("job.held", 2, 20), event("job.cancelled", 3, 10, "bob")
    for happened in ([submitted, held, stopping], [submitted, stopping, held], [held, stopping, submitted]):
        lines = list(story(job, [], happened, Session(argparse.Namespace(output="table"))))
        told = [next(number for number, line in enumerate(lines) if fact in line) for fact in ("submitted by", "held", "cancelled by bob")]
        assert told == sorted(told), lines
