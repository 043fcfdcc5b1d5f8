"""What the API answers about jobs: the shapes that travel, plain dictionaries at run time.

Times are RFC 3339 in UTC. Sets of array indices are texts such as `0-9,12`.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, NotRequired, TypeVar

from typing_extensions import TypedDict

Item = TypeVar("Item")

JobStateName = Literal["held", "queued", "starting", "running", "stopping", "succeeded", "failed", "cancelled"]
AttemptStateName = Literal["starting", "running", "stopping", "ended"]


class Page(TypedDict, Generic[Item]):
    """Part of a list. A page may be shorter than asked for; only `next_page` says whether there is more."""

    items: list[Item]
    next_page: str | None
    estimated_total: NotRequired[int | None]


class JobMetadata(TypedDict):
    id: str | None  # None only in the answer to a dry run
    name: str
    project: str
    queue: str
    submitter: str
    labels: dict[str, str]
    submitted_at: str
    version: int
    retry_of: str | None


class ElementCountsView(TypedDict):
    """Where the elements are. A job without an array has one."""

    pending: int
    delayed: int
    starting: int
    running: int
    stopping: int
    succeeded: int
    failed: int
    cancelled: int
    gated: int  # of a stage of a run: wait for what they are made of
    total: int


class ElementRangesView(TypedDict, total=False):
    """Which indices of an array. `truncated` names those that are too many to write out."""

    pending: str
    succeeded: str
    failed: str
    cancelled: str
    truncated: list[str]


class PlacementView(TypedDict):
    """Ranks `[first, stop)` of an attempt on one node."""

    cluster: str
    site: str
    node: str
    group: str
    ranks: list[int]


class ConditionView(TypedDict):
    """One thing that is, or is not yet, true of the job."""

    type: Literal["Released", "Started", "Ended"]
    status: bool
    reason: str | None
    message: str | None
    last_transition_at: str | None


class JobStatus(TypedDict):
    state: JobStateName
    reason: str | None
    message: str | None
    attempt: int | None  # of a job without an array: number of its latest attempt
    counts: ElementCountsView
    ranges: NotRequired[ElementRangesView]  # of an array, when it is asked for alone
    started_at: str | None
    ended_at: str | None
    exit_code: int | None
    failure_class: str | None
    placement: list[PlacementView]
    progress: dict[str, Any] | None
    usage: dict[str, Any] | None  # of a job without an array: summed over its attempts, when it is asked for alone
    conditions: list[ConditionView]


class StartView(TypedDict):
    """What would become of a job if it were submitted now, as the scheduler planned it behind all that wait."""

    starts_now: bool
    elements_now: int  # of an array: how many indices would start at once
    sentence: str


class JobView(TypedDict):
    """One job. `spec` is its canonical document; lists and answers to batches leave it out."""

    metadata: JobMetadata
    spec: NotRequired[dict[str, Any]]
    status: JobStatus
    start: NotRequired[StartView]  # in the answer to a dry run, of its first jobs


class SubmittedView(TypedDict):
    """The jobs of a batch, in the order in which they were sent."""

    items: list[JobView]


class CancelledView(TypedDict):
    """How many jobs a filter selected that had not ended, and that now end."""

    cancelled: int
    refused: int  # selected, but not the caller's to cancel


class AttemptView(TypedDict):
    """One try at running one element."""

    id: str
    job: str
    index: int
    number: int
    state: AttemptStateName
    outcome: str | None
    reason: str | None
    message: str | None
    failure_class: str | None
    exit_code: int | None
    signal: int | None
    cluster: str
    site: str
    placement: list[PlacementView]
    tasks: list[dict[str, Any]]  # what each rank said last
    usage: dict[str, Any]
    progress: dict[str, Any] | None
    created_at: str
    started_at: str | None
    ended_at: str | None
