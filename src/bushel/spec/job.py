"""The job document: every field that a person may write, with its limits.

The fields are described in docs/reference/job.md; `spec.canonical` fills in the defaults and checks the rules between fields.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Required

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, WithJsonSchema, with_config
from typing_extensions import TypedDict

from bushel.domain.retry import RetryPolicy
from bushel.spec import quantities
from bushel.spec.fields import (
    BACKOFF_LIMIT_SECONDS,
    GRACE_LIMIT_SECONDS,
    MEMORY_LEAST_BYTES,
    TIME_LIMIT_LONGEST_SECONDS,
    ArrayText,
    Cpu,
    Duration,
    Environment,
    FailureClassName,
    Image,
    JobReference,
    Labels,
    Level,
    Model,
    Name,
    Names,
    Priority,
    Run,
    ScopePath,
    ShellText,
    Signal,
    Size,
    VariableName,
    Workdir,
    list_of_one,
    unique,
)

RETRY_DEFAULT = RetryPolicy()
BATCH_LIMIT = 10_000
"""Most documents in one request."""

TASKS_LIMIT = 10_000
"""Most tasks of one element."""

STRICT = ConfigDict(extra="forbid", strict=True)


def _after_text(value: Any) -> Any:
    return {"job": value} if isinstance(value, str) else value


@with_config(STRICT)
class Gpu(TypedDict, total=False):
    """Accelerators of one task."""

    model: Annotated[
        list[Model],
        BeforeValidator(list_of_one),
        Field(min_length=1, max_length=16, description="Models that will do, best first. Left out: any."),
    ]
    count: Annotated[int, Field(ge=0, le=1024, description="How many. Default 1.")]
    share: Annotated[float, Field(gt=0, le=1, description="Part of one accelerator, such as 0.25. Needs a count of 1.")]


_GPU_SCHEMA = {
    "anyOf": [
        {"type": "number", "minimum": 0, "maximum": 1024},
        {"type": "string", "pattern": quantities.GPU_PATTERN},
        TypeAdapter(Gpu).json_schema(),
    ]
}


@with_config(STRICT)
class Resources(TypedDict, total=False):
    """What one task needs."""

    cpu: Annotated[Cpu, Field(description="CPUs: 4, 0.5 or 500m. Default 1.")]
    memory: Annotated[int, Size(MEMORY_LEAST_BYTES), Field(description="Memory: 16GiB, 512MiB, 100GB, or bytes. Default 1GiB.")]
    gpu: Annotated[
        Gpu,
        BeforeValidator(quantities.gpu_request),
        WithJsonSchema(_GPU_SCHEMA),
        Field(description="Accelerators: 8, H100:8, 0.25, or {model, count, share}."),
    ]
    disk: Annotated[int, Size(0), Field(description="Scratch space on disk. Default 0.")]


@with_config(STRICT)
class Group(TypedDict, total=False):
    """Equal tasks of a job whose tasks are not all equal. What a group leaves out it takes from the job."""

    name: Required[Annotated[Name, Field(description="Unlike the other groups' names.")]]
    count: Annotated[int, Field(ge=1, le=TASKS_LIMIT, description="Tasks. Default 1.")]
    min: Annotated[int, Field(ge=1, le=TASKS_LIMIT, description="Fewest tasks to start with. Default: count.")]
    run: Annotated[Run, Field(description="As the job's.")]
    setup: Annotated[ShellText, Field(description="As the job's.")]
    image: Annotated[Image, Field(description="As the job's.")]
    env: Annotated[Environment, Field(description="Added to the job's.")]
    resources: Annotated[Resources, Field(description="What it leaves out is taken from the job's.")]


@with_config(STRICT)
class Slices(TypedDict):
    """Parts of a gang that lie closer together than the whole."""

    size: Annotated[int, Field(ge=2, le=TASKS_LIMIT, description="Ranks of a slice. It divides the number of tasks, and min.")]
    level: Annotated[Level, Field(description="Each slice lies within one place of this topology level: rack, nvlink.")]


@with_config(STRICT)
class Placement(TypedDict, total=False):
    """Where tasks may run."""

    sites: Annotated[Names, Field(description="One of these sites.")]
    clusters: Annotated[Names, Field(description="One of these clusters.")]
    labels: Annotated[Labels, Field(description="All of these labels are on the node.")]
    require: Annotated[Level, Field(description="All tasks of an element within one of this topology level: rack, block.")]
    prefer: Annotated[Level, Field(description="As require, if that can be had.")]
    spread: Annotated[Level, Field(description="Tasks spread over different ones of this level: host.")]
    slices: Annotated[Slices, Field(description="Each so many ranks in a row within one place of a level.")]


@with_config(STRICT)
class After(TypedDict, total=False):
    """A job that must end first."""

    job: Required[
        Annotated[JobReference, Field(description="Its id, or its name: of a job in the same request, or else the newest in the project.")]
    ]
    on: Annotated[Literal["success", "failure", "end"], Field(description="How it must end. Default success.")]


@with_config(STRICT)
class Retry(TypedDict, total=False):
    """Whether and when a failed attempt is followed by another."""

    attempts: Annotated[int, Field(ge=1, le=1000, description=f"Most attempts that count. Default {RETRY_DEFAULT.attempts}.")]
    on: Annotated[
        list[FailureClassName],
        BeforeValidator(list_of_one),
        Field(max_length=8),
        AfterValidator(unique),
        Field(description="Failure classes that are tried again. Default infrastructure and preempted."),
    ]
    backoff: Annotated[
        float,
        Duration(0, BACKOFF_LIMIT_SECONDS),
        Field(description="Wait before the next attempt, doubled each time up to an hour. Default 10s."),
    ]


@with_config(STRICT)
class Preemption(TypedDict, total=False):
    """How tasks are told to stop, and whether they can go on later."""

    grace: Annotated[float, Duration(0, GRACE_LIMIT_SECONDS), Field(description="From the first signal to the kill. Default 30s.")]
    notice: Annotated[Signal, Field(description="The first signal. Default SIGTERM.")]
    checkpoint: Annotated[bool, Field(description="The task saves its work when it gets the signal. Default false.")]


@with_config(STRICT)
class JobDocument(TypedDict, total=False):
    """One job: what to run, with what, where, when. Everything is optional but `run`."""

    name: Annotated[Name, Field(description="Default: the first word of run. Names need not be unique.")]
    project: Annotated[ScopePath, Field(description="Default: the project of the request.")]
    queue: Annotated[Name, Field(description="Default: the project's queue.")]
    image: Annotated[Image, Field(description="Container image. Left out: a process, where the cluster allows it.")]
    workdir: Annotated[Workdir, Field(description="A folder, uploaded by the client once by content; to the API: its digest, sha256:….")]
    setup: Annotated[ShellText, Field(description="Shell text before run, in each task.")]
    run: Annotated[Run, Field(description="What to run: a string for a shell, a list of arguments for exec.")]
    env: Annotated[Environment, Field(description="Environment variables.")]
    secrets: Annotated[
        list[VariableName],
        Field(max_length=64),
        AfterValidator(unique),
        Field(description="Names of secrets to pass as environment variables."),
    ]
    resources: Annotated[Resources, Field(description="What one task needs.")]
    array: Annotated[ArrayText, Field(description="Run once for each index: 0-999, 0-999%50, 3,7,20-29.")]
    nodes: Annotated[int, Field(ge=1, le=TASKS_LIMIT, description="A gang of so many equal tasks. Default 1.")]
    groups: Annotated[list[Group], Field(min_length=1, max_length=64, description="A gang of unequal tasks.")]
    placement: Annotated[Placement, Field(description="Where it may run.")]
    priority: Annotated[Priority, Field(description="low (250), normal (500), high (750), or 0 to 1000. Default normal.")]
    time_limit: Annotated[
        float, Duration(1, TIME_LIMIT_LONGEST_SECONDS), Field(description="Each attempt is stopped after this. Default 24h.")
    ]
    expected_duration: Annotated[
        float, Duration(0, TIME_LIMIT_LONGEST_SECONDS), Field(description="For estimates. Default: the time limit.")
    ]
    after: Annotated[
        list[Annotated[After, BeforeValidator(_after_text)]],
        BeforeValidator(list_of_one),
        Field(max_length=100, description="Jobs that must end first."),
    ]
    retry: Annotated[Retry, Field(description="Whether and when it is tried again.")]
    preemption: Annotated[Preemption, Field(description="How it is stopped.")]
    labels: Annotated[Labels, Field(description="For people and filters.")]
    hold: Annotated[bool, Field(description="Wait for a release. Default false.")]


JOB: TypeAdapter[JobDocument] = TypeAdapter(JobDocument)


def _fields(of: type) -> tuple[str, ...]:
    return tuple(of.__annotations__)


FIELDS_AT: dict[tuple[str, ...], tuple[str, ...]] = {
    (): _fields(JobDocument),
    ("resources",): _fields(Resources),
    ("resources", "gpu"): _fields(Gpu),
    ("groups", "*"): _fields(Group),
    ("groups", "*", "resources"): _fields(Resources),
    ("groups", "*", "resources", "gpu"): _fields(Gpu),
    ("placement",): _fields(Placement),
    ("placement", "slices"): _fields(Slices),
    ("after", "*"): _fields(After),
    ("retry",): _fields(Retry),
    ("preemption",): _fields(Preemption),
}
"""Which fields there are at each place of the document."""
