"""Why a job does not run yet: what the API answers. Every sentence is ready to be shown; the same facts stand beside it as data."""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import TypedDict

Topic = Literal["hold", "dependency", "upstream", "backoff", "array_limit", "where", "kept_free", "quota", "ahead"]


class ReasonView(TypedDict):
    """One thing that keeps the job waiting, or, if not `blocking`, that was looked at and does not.

    `count` is how many nodes, jobs or elements it is about.
    """

    topic: Topic
    code: str
    blocking: bool
    count: int | None
    sentence: str
    detail: dict[str, Any]


class StartPlaceView(TypedDict):
    """Where it would start."""

    cluster: str
    site: str
    nodes: list[str]
    node_count: int


class AlternativeView(TypedDict):
    """A change with which the job was planned, and would start now. `field` is of the job's document."""

    field: str
    was: Any
    now: Any
    sentence: str
    placement: StartPlaceView


class ExplanationView(TypedDict):
    """`placement` is there when it starts with the next plan."""

    job: str
    name: str
    project: str
    queue: str
    state: str
    sentence: str
    asks_for: str
    starts_now: bool
    waiting_since: str | None
    waited_seconds: float | None
    reasons: list[ReasonView]
    would_start: list[AlternativeView]
    placement: StartPlaceView | None
    as_of: str
