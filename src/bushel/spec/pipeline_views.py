"""What the API answers about pipelines and runs: plain dictionaries at run time. Times are RFC 3339 in UTC."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

RunStateName = Literal["running", "stopping", "succeeded", "failed", "cancelled"]
StageStateName = Literal["waiting", "running", "succeeded", "failed", "cancelled"]


class PipelineView(TypedDict):
    """One pipeline. `document` is the canonical one of its newest version, or of the one that was asked for."""

    name: str
    project: str
    version: int
    paused: bool
    applied_at: str | None
    applied_by: str | None
    created_at: str
    run_count: int
    changed: NotRequired[bool]  # in the answer to an application: whether it made a version
    document: NotRequired[dict[str, Any]]


class VersionView(TypedDict):
    version: int
    applied_at: str
    applied_by: str


class ChangeView(TypedDict):
    """One difference; a side that has nothing there is null."""

    pointer: str
    before: Any
    after: Any


class DiffView(TypedDict):
    before: int  # versions
    after: int
    changes: list[ChangeView]


class StagePlanView(TypedDict):
    """What a stage would do. An estimate is null where nothing like it has run, and the document says nothing."""

    name: str
    partitions: int | None  # null: listed while the run goes on
    after: list[str]
    changed: list[str]  # code, environment: results of the version before no longer stand
    partition_seconds: float | None
    cpu_hours: float | None


class CanaryPlanView(TypedDict):
    """What would be done first, and what must hold before the rest is."""

    partitions: list[str]  # the first of the sample
    count: int | None  # null: they are listed while the run goes on
    sampled: list[str]  # stages
    before: list[str]  # stages that are whole before the sample is done
    held: list[str]  # stages that wait for the gates
    gates: list[str]
    compared_with: dict[str, int | None]  # data set → version; null: there is none
    sentence: str


class CostView(TypedDict):
    """Of a run, over the clusters that have prices; null where it is not known. The sentence says why."""

    least: float | None
    most: float | None
    clusters_without_price: list[str]
    sentence: str


class PlanView(TypedDict):
    """What would change, and what a run would take. Nothing was changed."""

    name: str
    project: str
    version: int  # of what is there; 0: it is new
    changes: list[ChangeView]
    stages: list[StagePlanView]
    canary: CanaryPlanView | None
    partitions: int | None
    cpu_hours: float | None
    cost: CostView
    finish_seconds: float | None
    sentence: str


class GateView(TypedDict):
    """One gate of a canary: what was measured, and what the last version has of the same partitions."""

    gate: str
    holds: bool
    measured: float | str | None
    last: float | str | None
    version: int | None
    partitions: int
    note: str | None


class ApprovalView(TypedDict):
    by: str
    message: str
    run: int  # the one whose gates were let pass


class CanaryView(TypedDict):
    """How far the canary of a run is. `sampling` of a run that has ended: it was never judged."""

    state: Literal["sampling", "passed", "failed", "approved"]
    count: int | None  # partitions of the sample; null: they are not known yet
    of: int | None
    done: int | None  # of those, while they are done
    partitions: list[str]  # the first of them
    compared_with: dict[str, int | None]  # data set → version; null: there was none
    gates: list[GateView]
    approved: ApprovalView | None
    sentence: str


class StragglerView(TypedDict):
    partition: str
    seconds: float
    times_median: float
    attempt: str
    site: str
    cluster: str


class SpentView(TypedDict):
    """What all attempts at the partitions that finished took on one cluster. `seconds` are by the clock, added up."""

    site: str
    cluster: str
    partitions: int
    attempts: int
    seconds: float
    cpu_seconds: float


class StageView(TypedDict):
    """One stage of a run. `counts` are of partitions: `gated` ones wait for what they are made of."""

    name: str
    state: StageStateName
    message: str | None
    partitions: int | None
    counts: dict[str, int]
    carried: int  # succeeded in the run that this one does again
    cached: int  # taken over from an equal result
    records_total: int
    records_bad: int
    rate_per_second: float | None
    seconds_left: float | None
    median_seconds: float | None
    stalled_seconds: float | None  # nothing has finished for so long, five times as long as usual
    stragglers: list[StragglerView]
    spent: list[SpentView]
    jobs: list[str]
    outputs: dict[str, Any]


class RunView(TypedDict):
    """One run. Lists leave `stages` out."""

    pipeline: str
    project: str
    number: int
    version: int
    state: RunStateName
    reason: str | None
    message: str | None
    paused: bool
    backfill: bool
    base: int | None  # the run that this one does again
    redo: dict[str, Any]
    parameters: dict[str, str]
    submitter: str
    submitted_at: str
    ended_at: str | None
    deadline_at: str | None
    canary: CanaryView | None
    seconds_left: NotRequired[float | None]
    stages: NotRequired[list[StageView]]


class MakerView(TypedDict):
    """The attempt that did the work of a partition that was taken over."""

    pipeline: str
    run: int
    attempt: str
    cluster: str
    site: str


class OriginView(TypedDict):
    """So many partitions of a stage stand from this run, or took their results over from it."""

    pipeline: str
    run: int
    partitions: int


class GridRow(TypedDict):
    """A stage, cut into equal parts. Each cell counts `[succeeded, failed, cancelled, live, may start, waits]`."""

    stage: str
    partitions: int
    cells: list[list[int]]
    taken_over: list[OriginView]  # from which runs, the most first


class GridView(TypedDict):
    rows: list[GridRow]


class PartitionView(TypedDict):
    """One partition in one stage."""

    partition: str
    index: int
    stage: str
    state: Literal["gated", "pending", "live", "succeeded", "failed", "cancelled"]
    reason: str | None
    message: str | None
    attempt: str | None
    cluster: str | None
    made_by: MakerView | None  # null: it was not taken over


class SetAsideView(TypedDict):
    """Records of a partition that were set aside; `list` has the first of them."""

    stage: str
    partition: str
    attempt: str | None  # null: taken over with an equal result
    bad: int
    total: int
    list: list[dict[str, Any]]


class WhyView(TypedDict):
    """Why a partition was done again in a run, or why not."""

    stage: str
    partition: str
    taken_over: bool
    made_by: MakerView | None  # the attempt that did the work of what was taken over
    cache: Literal["auto", "always", "never"]
    compared_with: int | None  # an earlier run
    changed: list[str]  # code, environment, parameters, input NAME, stage NAME, partition
    unknown: list[str]  # what it is made of and has no digest
    sentence: str
