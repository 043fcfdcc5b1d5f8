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


class PreemptionView(TypedDict):
    """How many jobs are stopped for it, and the work they do again: seconds of accelerators, or of CPUs where there are none."""

    jobs: int
    lost_seconds: float
    lost_of: Literal["GPU", "CPU"]


class AlternativeView(TypedDict):
    """A change with which the job was planned, and would start now; or, with `preempts`, once these jobs have stopped.

    `field` is of the job's document, or `quota`, or `ends`: when other jobs have ended, the last of them in about `in_seconds`; `now`
    is then its id, if it may be seen.
    """

    field: str
    was: Any
    now: Any
    sentence: str
    placement: StartPlaceView
    preempts: PreemptionView | None
    in_seconds: float | None


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
