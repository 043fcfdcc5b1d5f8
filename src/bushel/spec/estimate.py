"""When a job is likely to start: what the API answers. The sentence is ready to be shown; the same facts stand beside it as data."""

from __future__ import annotations

from typing_extensions import TypedDict


class StartIntervalView(TypedDict):
    """Seconds from `as_of`. Of five starts four lie between `low_seconds` and `high_seconds`, once `waits` are some dozens."""

    low_seconds: float
    median_seconds: float
    high_seconds: float
    low_at: str
    median_at: str
    high_at: str


class EstimateView(TypedDict):
    """`start` is there when something can be said. `ended_jobs` and `waits` are the past that it rests on; `basis` says so in words.

    `job` is absent of a document that was not submitted.
    """

    job: str | None
    name: str
    project: str
    queue: str
    state: str
    sentence: str
    starts_now: bool
    start: StartIntervalView | None
    ended_jobs: int
    waits: int
    basis: str
    as_of: str
