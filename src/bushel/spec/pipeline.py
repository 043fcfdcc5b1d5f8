"""The pipeline document: every field that a person may write, with its limits.

The fields are described in docs/reference/pipeline.md; `spec.pipeline_canonical` fills in the defaults and checks the rules between
fields. What a stage runs is written with the fields of a job.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Required

from pydantic import BeforeValidator, Field, PlainValidator, StringConstraints, TypeAdapter, WithJsonSchema, with_config
from typing_extensions import TypedDict

from bushel.spec.canary import Canary, ColumnGates, Gates, SampleGates
from bushel.spec.fields import (
    TIME_LIMIT_LONGEST_SECONDS,
    Duration,
    Environment,
    Image,
    Labels,
    Name,
    Priority,
    Run,
    ScopePath,
    ShellText,
    VariableName,
    VariableValue,
    Workdir,
    list_of_one,
)
from bushel.spec.job import FIELDS_AT as JOB_FIELDS_AT
from bushel.spec.job import STRICT, TASKS_LIMIT, Group, Placement, Preemption, Resources, Retry

STAGES_LIMIT = 200
PARTITIONS_LIMIT = 1_000_000
"""Most partitions of one stage of a run."""

LIST_LIMIT = 100_000
"""Most partitions that a document lists itself; more are discovered, or are windows of time."""

ELEMENTS_LIMIT = 1_000_000
"""Most elements that may be live at once."""


def _time(value: Any) -> str:
    if isinstance(value, datetime):
        time = value
    else:
        try:
            time = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            raise ValueError("not a time. Write 2030-01-31T00:00:00Z") from None
    try:
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError:
        raise ValueError("not a time that can be reckoned with") from None
    if not 1970 <= time.year <= 9000:
        raise ValueError("not a time between the years 1970 and 9000")
    return time.isoformat().replace("+00:00", "Z")


def _edge(value: Any) -> Any:
    return {"stage": value} if isinstance(value, str) else value


def _partition(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _partitions(value: Any) -> Any:
    return {"list": value} if isinstance(value, list) else value


PartitionName = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
StageName = Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
PipelineName = Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
DataSet = Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$")]
Time = Annotated[str, PlainValidator(_time), WithJsonSchema({"type": "string", "format": "date-time"})]
Parameters = Annotated[dict[VariableName, VariableValue], Field(max_length=200)]
Limit = Annotated[int, Field(ge=1, le=ELEMENTS_LIMIT)]


@with_config(STRICT)
class Partition(TypedDict, total=False):
    """One partition that is known beforehand."""

    name: Required[PartitionName]
    site: Annotated[Name, Field(description="It is worked on there alone.")]
    digest: Annotated[str, StringConstraints(min_length=1, max_length=200), Field(description="Of the content behind the name.")]


@with_config(STRICT)
class Windows(TypedDict, total=False):
    """Windows of time, one after the other, each named by its beginning."""

    every: Required[Annotated[float, Duration(1, TIME_LIMIT_LONGEST_SECONDS), Field(description="Length of a window: 15m, 1h, 1d.")]]
    start: Required[Annotated[Time, Field(description="Beginning of the first.")]]
    end: Annotated[Time, Field(description="End of the last. Default: of the last that is over when a run begins.")]


@with_config(STRICT)
class Partitions(TypedDict, total=False):
    """What a run is made of: one of these."""

    list: Annotated[list[Annotated[Partition, BeforeValidator(_partition)]], Field(min_length=1, max_length=LIST_LIMIT)]
    windows: Windows
    discovered_by: Annotated[StageName, Field(description="The stage that lists them while the run goes on.")]


@with_config(STRICT)
class Edge(TypedDict, total=False):
    """What a stage is made of."""

    stage: Required[StageName]
    edge: Annotated[
        Literal["one-to-one", "all", "window"],
        Field(description="one-to-one: the same partition; all: every partition; window: neighbours as well. "
                          "Default: one-to-one between stages with the same partitions, else all."),
    ]  # fmt: skip
    before: Annotated[int, Field(ge=0, le=10_000, description="Of a window: so many partitions before. Default 0.")]
    after: Annotated[int, Field(ge=0, le=10_000, description="Of a window: so many partitions after. Default 0.")]
    on: Annotated[Literal["success", "end"], Field(description="end: partitions that failed count too. Default success.")]


@with_config(STRICT)
class BadRecords(TypedDict, total=False):
    """How many records may be set aside before the run is stopped."""

    most: Annotated[int, Field(ge=0, le=2**53, description="So many.")]
    share: Annotated[float, Field(ge=0, le=1, description="Such a part of all records, once there are 1,000.")]


@with_config(STRICT)
class Limits(TypedDict, total=False):
    """Most elements that are live at once, over all runs of the pipeline."""

    running: Limit
    sites: Annotated[dict[Name, Limit], Field(max_length=100, description="At each of these sites.")]


@with_config(STRICT)
class Work(TypedDict, total=False):
    """The fields of a job that a stage may have. A stage takes what it leaves out from the pipeline's `defaults`."""

    image: Image
    workdir: Workdir
    setup: ShellText
    env: Environment
    secrets: Annotated[list[VariableName], Field(max_length=64)]
    resources: Resources
    placement: Placement
    time_limit: Annotated[float, Duration(1, TIME_LIMIT_LONGEST_SECONDS)]
    expected_duration: Annotated[float, Duration(0, TIME_LIMIT_LONGEST_SECONDS)]
    retry: Retry
    preemption: Preemption
    labels: Labels


@with_config(STRICT)
class StageOptions(Work, total=False):
    """What a stage may have beside what it runs and what it is made of."""

    nodes: Annotated[int, Field(ge=1, le=TASKS_LIMIT, description="A gang of so many equal tasks for each partition.")]
    groups: Annotated[list[Group], Field(min_length=1, max_length=64, description="A gang of unequal tasks for each partition.")]
    once: Annotated[bool, Field(description="It runs once, not for each partition. Default false.")]
    partitions: Annotated[Partitions, BeforeValidator(_partitions), Field(description="Default: those of the pipeline.")]
    limit: Annotated[Limit, Field(description="Most of its elements that are live at once, in one run.")]
    code: Annotated[
        str,
        StringConstraints(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$"),
        Field(description="What people call this version of the code, such as v2; part of what results depend on."),
    ]
    inputs: Annotated[dict[Name, DataSet], Field(max_length=50, description="Data sets that it reads: name, or name@version.")]
    outputs: Annotated[dict[Name, DataSet], Field(max_length=50, description="Data sets that it writes: one version a run.")]
    cache: Annotated[
        Literal["auto", "always", "never"],
        Field(description="Whether a result is taken over where everything that it depends on is the same. Default auto."),
    ]
    bad_records: Annotated[BadRecords, Field(description="As the pipeline's, of this stage alone.")]


@with_config(STRICT)
class Stage(StageOptions, total=False):
    """One step. It runs once for each of its partitions."""

    run: Annotated[Run, Field(description="What to run: a string for a shell, a list of arguments for exec.")]
    after: Annotated[
        list[Annotated[Edge, BeforeValidator(_edge)]],
        BeforeValidator(list_of_one),
        Field(max_length=50, description="Stages that it is made of."),
    ]


@with_config(STRICT)
class PipelineDocument(TypedDict, total=False):
    """Stages, what they are made of, and the partitions that they work on."""

    name: Required[PipelineName]
    project: Annotated[ScopePath, Field(description="Default: the project of the request.")]
    queue: Annotated[Name, Field(description="Default: the project's queue.")]
    description: Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")]
    partitions: Annotated[Partitions, BeforeValidator(_partitions), Field(description="What most stages run for. Default: one.")]
    parameters: Annotated[Parameters, Field(description="Values that a run may override; tasks find them in their environment.")]
    limits: Annotated[Limits, Field(description="How much is live at once.")]
    priority: Annotated[Priority, Field(description="Of fresh data. Default normal.")]
    backfill_priority: Annotated[Priority, Field(description="Of back-fills; below that of fresh data. Default low.")]
    deadline: Annotated[float, Duration(1, TIME_LIMIT_LONGEST_SECONDS), Field(description="A run that takes longer is stopped.")]
    bad_records: Annotated[BadRecords, Field(description="Over all stages of a run.")]
    canary: Annotated[Canary, Field(description="Partitions that are done first, and what must hold before the rest is begun.")]
    defaults: Annotated[Work, Field(description="What stages leave out.")]
    stages: Required[Annotated[dict[StageName, Stage], Field(min_length=1, max_length=STAGES_LIMIT)]]


PIPELINE: TypeAdapter[PipelineDocument] = TypeAdapter(PipelineDocument)

WORK_FIELDS = (*Work.__annotations__, "run", "nodes", "groups")
"""The fields of a stage that are fields of its job."""


def _fields(of: type) -> tuple[str, ...]:
    return tuple(of.__annotations__)


def _work(place: tuple[str, ...]) -> dict[tuple[str, ...], tuple[str, ...]]:
    inner = ("resources", "placement", "retry", "preemption", "groups")
    return {(*place, *below): fields for below, fields in JOB_FIELDS_AT.items() if below and below[0] in inner}


_STAGE = ("stages", "*")


class _FieldsAt(dict[tuple[str, ...], tuple[str, ...]]):
    """The names of stages, data sets and columns, whatever they are, stand for `*`."""

    def get(self, key: tuple[str, ...], default: Any = None) -> Any:
        place: tuple[str, ...] = ()
        for part in key:
            place += ("*",) if place and place[-1] in _NAMED else (part,)
        return super().get(place, default)


_NAMED = ("stages", "data_sets", "columns")


PIPELINE_FIELDS_AT = _FieldsAt(
    {
        (): _fields(PipelineDocument),
        ("partitions",): _fields(Partitions),
        ("partitions", "list", "*"): _fields(Partition),
        ("partitions", "windows"): _fields(Windows),
        ("limits",): _fields(Limits),
        ("bad_records",): _fields(BadRecords),
        ("canary",): _fields(Canary),
        ("canary", "gates"): _fields(SampleGates),
        ("canary", "gates", "columns", "*"): _fields(ColumnGates),
        ("canary", "data_sets", "*"): _fields(Gates),
        ("canary", "data_sets", "*", "columns", "*"): _fields(ColumnGates),
        ("defaults",): _fields(Work),
        **_work(("defaults",)),
        _STAGE: _fields(Stage),
        (*_STAGE, "after", "*"): _fields(Edge),
        (*_STAGE, "partitions"): _fields(Partitions),
        (*_STAGE, "partitions", "windows"): _fields(Windows),
        (*_STAGE, "bad_records"): _fields(BadRecords),
        **_work(_STAGE),
    }
)
"""Which fields there are at each place of the document; a stage's name is `*`."""
