"""What an agent and the control plane say to each other: `sync(observed) → desired`.

Guarantees of the protocol:

- Level-triggered. A request may carry all that the agent knows (`complete`) or only what changed since its last
  answered request; an answer carries all that is wanted (`complete`) or only what changed since `known_version`.
  Any message may be lost, doubled or late without harm: reports carry a `report_version` for each attempt, answers a
  `version`, and the older of two is ignored.
- An attempt starts at most once: the agent refuses a second start of an id that its state folder has seen, and a new
  state folder (`incarnation`) gets a new epoch, under which no attempt of the old one exists.
- The agent may forget an attempt that it reported as ended once an answer with that report's effect says `forget`; that never
  becomes untrue, so it holds in an answer of any version.
- A request that reports, is not `complete` and does not wait is answered with what follows from its reports alone, and
  with the version that it named; what is wanted comes to the request that waits.
- The lease runs, on the agent's own clock, from the moment it *sent* the request, for `lease_seconds`; whoever runs
  tasks ends them by itself when it has run out. See `docs/concepts/guarantees.md#leases` for the inequality.

Times are RFC 3339 in UTC. These shapes are plain dictionaries at run time, so that an agent stays small.
"""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict

TaskState = Literal["starting", "running", "stopping", "ended"]


class TaskUsage(TypedDict, total=False):
    """Summed over the processes of one task."""

    cpu_seconds: float
    peak_memory_bytes: int
    read_bytes: int
    written_bytes: int


class TaskResult(TypedDict, total=False):
    """What a task of a stage of a run came to, as it wrote it."""

    body: dict[str, object]  # the object in BUSHEL_RESULT_FILE
    names: str  # the lines of BUSHEL_PARTITIONS_FILE: zlib, then base64
    error: str  # why they could not be sent


class TaskReport(TypedDict):
    """One rank of an attempt, as last seen."""

    rank: int
    state: TaskState
    started_at: NotRequired[str | None]
    ended_at: NotRequired[str | None]
    exit_code: NotRequired[int | None]
    signal: NotRequired[int | None]
    reason: NotRequired[str | None]  # a code of domain.lifecycle.Reason, when the exit code does not say it all
    message: NotRequired[str | None]
    usage: NotRequired[TaskUsage]
    result: NotRequired[TaskResult]  # of one that has ended and left one
    log_bytes: NotRequired[int]  # only 0, of an attempt of one task that has ended: it printed nothing, so no log will come


class AttemptReport(TypedDict):
    """An attempt as the agent sees it. `ended` only when every rank has ended."""

    id: str  # k7q2m.17.2
    report_version: int  # grows with every change of this attempt on this agent
    state: TaskState
    tasks: list[TaskReport]
    progress: NotRequired[dict[str, object] | None]


class NodeReport(TypedDict):
    """One node of the cluster. `capacity` is in smallest units, by resource name (`cpu`, `memory`, `disk`, `gpu/H100`)."""

    name: str
    capacity: dict[str, int]
    labels: dict[str, str]
    topology: list[tuple[str, str]]  # [("rack", "r14"), ("host", "n03")], outermost first
    state: Literal["ready", "lost"]
    detail: dict[str, object]


class SyncRequest(TypedDict):
    incarnation: str  # made when the state folder was made
    epoch: int | None  # None asks for a lease: the answer gives the epoch to use from then on
    sent_at: str  # the agent's wall clock; shown to people when it is off, never decided by
    known_version: int  # the newest answer acted on; 0 asks for a complete answer
    complete: bool  # `attempts` and `nodes` are all there are
    attempts: list[AttemptReport]
    nodes: NotRequired[list[NodeReport] | None]
    wait_seconds: float  # how long the answer may be held back when there is nothing to say; 0 for a report
    agent: NotRequired[dict[str, str]]  # version, host name, platform
    parked: NotRequired[bool]  # an orderly farewell: leave my tasks running, start them nowhere else, until I am back


class DesiredTasks(TypedDict):
    """Ranks `[first, stop)` on one node. `amounts` are of one task."""

    group: str
    ranks: tuple[int, int]
    node: str
    amounts: dict[str, int]
    devices: NotRequired[list[list[int]]]  # which accelerators of the model each task holds, from 0; absent when it holds none


class DesiredStop(TypedDict):
    reason: str  # a code of domain.lifecycle.Reason
    grace_seconds: float


class DesiredAttempt(TypedDict):
    """An attempt that should exist on this cluster, with all that is needed to run it."""

    id: str
    job_name: str
    project: str  # acme/research/vision
    queue: str
    attempt: int
    index: int
    array: bool
    task_count: int  # ranks in this attempt; 1 unless it is a gang
    element_count: int  # length of the array; 1 without one
    spec: dict[str, object]  # the canonical job document
    secrets: dict[str, str]  # values; never written to disk by the agent
    placement: list[DesiredTasks]
    submitted_at: str
    resume_from: str | None
    context: NotRequired[dict[str, str]]  # of a stage of a run: further variables of its environment
    stop: DesiredStop | None


class SyncAnswer(TypedDict):
    epoch: int
    lease_seconds: float
    version: int  # to be sent back as `known_version`
    complete: bool  # `attempts` are all that should exist: an unlisted one must be stopped and forgotten
    attempts: list[DesiredAttempt]
    forget: list[str]  # ended attempts whose end is recorded: their folders may go once their logs are uploaded
    server_time: str
