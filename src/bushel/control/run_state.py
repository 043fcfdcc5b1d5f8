"""A run as its controller holds it: stages, their jobs under lock, and what of them finished.

Guarantees: plain values over locked rows; nothing here writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bushel.control.elements import LockedJob
from bushel.control.result_keys import widened
from bushel.domain.ranges import IndexRanges

IN_FLIGHT = ("pending", "delayed", "starting", "running", "stopping")
ENDED = ("succeeded", "failed", "cancelled")
NOTHING = IndexRanges()


@dataclass(slots=True)
class StageJob:
    """One job of a stage. `ready` is gated and misses nothing but room."""

    job: LockedJob
    site: str | None
    ready: IndexRanges
    ready_before: IndexRanges


@dataclass(slots=True)
class News:
    """What finished in a stage since it was last looked at."""

    succeeded: IndexRanges = NOTHING
    failed: IndexRanges = NOTHING
    cancelled: IndexRanges = NOTHING
    by_job: list[tuple[int, IndexRanges]] = field(default_factory=list)  # of which something may have been said

    @property
    def broken(self) -> IndexRanges:
        return self.failed | self.cancelled

    def add(self, row: Mapping[str, Any]) -> None:
        self.succeeded = self.succeeded | row["succeeded"]
        self.failed = self.failed | row["failed"]
        self.cancelled = self.cancelled | row["cancelled"]
        self.by_job.append((row["job_id"], row["succeeded"] | row["failed"]))


@dataclass(frozen=True, slots=True)
class Said:
    """What finished elements said of themselves, and what they took on each cluster; by job."""

    results: Mapping[int, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    spent: Mapping[int, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


@dataclass(slots=True)
class StageState:
    """One stage. `row` is what is stored of it; `definition` what the document says."""

    row: dict[str, Any]
    definition: Mapping[str, Any]
    jobs: list[StageJob] = field(default_factory=list)
    news: News | None = None
    dirty: bool = False
    ended_now: bool = False
    late: bool = False  # its partitions became known in this step, and it has no jobs yet

    @property
    def name(self) -> str:
        return self.row["name"]

    @property
    def ended(self) -> bool:
        return self.row["state"] in ENDED

    @property
    def count(self) -> int:
        return self.row["element_count"] or 0

    @property
    def gated(self) -> IndexRanges:
        """What waits for what it is made of, and is not ready."""
        waiting = [one.job.gated - one.ready for one in self.jobs]
        return waiting[0] if len(waiting) == 1 else IndexRanges.of(part for ranges in waiting for part in ranges.parts)

    def counted(self, *places: str) -> int:
        return sum(one.job.counts[place] for one in self.jobs for place in places)

    def in_flight(self) -> int:
        return self.counted(*IN_FLIGHT)

    def row_to_write(self) -> dict[str, Any]:
        names = ("id", "state", "message", "set_id", "element_count", "cached_count", "records_total", "records_bad", "samples", "outputs")
        return {name: self.row[name] for name in names}

    def set_state(self, state: str, message: str | None = None) -> None:
        self.row["state"], self.row["message"] = state, message
        self.dirty = True
        self.ended_now = state in ENDED


@dataclass(slots=True)
class RunState:
    """One run. `stages` in an order in which none comes before what it needs."""

    row: dict[str, Any]
    document: Mapping[str, Any]
    stages: dict[str, StageState]
    said: Said = field(default_factory=Said)
    again: bool = False  # there is more to do than one step did
    siblings: list[RunState] = field(default_factory=list)  # all loaded runs of the pipeline, itself too
    sets: dict[str, tuple[int, int]] = field(default_factory=dict)  # space → set and count, of those made in this step
    canary: Any = None  # see `canary.canary_of`

    @property
    def live(self) -> bool:
        return self.row["state"] == "running"

    @property
    def paused(self) -> bool:
        return self.row["paused"] or self.row["pipeline_paused"]

    def jobs(self) -> Iterator[StageJob]:
        for stage in self.stages.values():
            yield from stage.jobs


def made_of(edge: Mapping[str, Any], done: IndexRanges, count: int) -> IndexRanges:
    """Which partitions of a stage are made, by a one-to-one edge or a window, of any of these partitions of the one before."""
    backwards = {"before": edge.get("after", 0), "after": edge.get("before", 0)}
    return widened(backwards, done, count)


def whole(edge: Mapping[str, Any], ready: IndexRanges, wanted: IndexRanges, count: int) -> IndexRanges:
    """Those of `wanted` of which everything that they are made of is in `ready`."""
    missing = IndexRanges(((0, count),)) - ready if count else NOTHING
    return wanted - made_of(edge, missing, count)
