"""What a job comes to once its document is understood: groups of equal tasks, where they may run, and for how long.

Guarantees: immutable and hashable, so that equal jobs may share one shape in memory; every amount is an exact integer
in its smallest unit; the tasks of an element are ranked group by group, in the order of `groups`, from 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bushel.domain.ranges import IndexRanges
from bushel.domain.resources import ResourceRequest
from bushel.domain.retry import RetryPolicy

PRIORITY_NAMES = {"low": 250, "normal": 500, "high": 750}
"""What the words mean on the scale of 0 to 1000."""

PRIORITY_NORMAL = 500
"""The highest priority that every member may ask for."""

TIME_LIMIT_DEFAULT_SECONDS = 24 * 3600.0
"""The time limit of a job that names none."""

GRACE_DEFAULT_SECONDS = 30.0
"""From the first signal to the kill, when a job names no other time."""


@dataclass(frozen=True, slots=True)
class GroupShape:
    """`count` equal tasks. With fewer than `min_count` of them the job does not start."""

    name: str
    count: int
    min_count: int
    request: ResourceRequest


@dataclass(frozen=True, slots=True)
class Slices:
    """Each `size` ranks of a group, in a row, lie within one place of `level`."""

    size: int
    level: str


@dataclass(frozen=True, slots=True)
class Constraints:
    """Where the tasks may run. Empty means anywhere.

    `labels` must all be on the node. `require` and `prefer` name the topology level within which all tasks of an element must,
    or should, lie together; `spread` the level over which they should be spread.
    """

    sites: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    require: str | None = None
    prefer: str | None = None
    spread: str | None = None
    slices: Slices | None = None


@dataclass(frozen=True, slots=True)
class JobShape:
    """One element is one array index; a job without an array has one element, index 0. Each element runs all `groups`."""

    groups: tuple[GroupShape, ...]
    gang: bool  # more than one task in an element: they start together or not at all
    constraints: Constraints = field(default_factory=Constraints)
    array: IndexRanges | None = None
    array_limit: int | None = None  # most elements that may be live at once
    priority: int = PRIORITY_NORMAL
    time_limit_seconds: float = TIME_LIMIT_DEFAULT_SECONDS
    expected_seconds: float = TIME_LIMIT_DEFAULT_SECONDS
    grace_seconds: float = GRACE_DEFAULT_SECONDS
    checkpoints: bool = False  # it saves its work when told to stop, so stopping it costs little
    image: bool = False  # needs an engine that runs containers
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    @property
    def element_count(self) -> int:
        return 1 if self.array is None else len(self.array)

    @property
    def indices(self) -> IndexRanges:
        return IndexRanges(((0, 1),)) if self.array is None else self.array

    @property
    def task_count(self) -> int:
        """Tasks of one element when every group is full."""
        return sum(group.count for group in self.groups)

    def first_rank(self, group_name: str) -> int:
        """The rank of the group's first task when every group is full.

        Raises:
            KeyError: there is no such group.
        """
        rank = 0
        for group in self.groups:
            if group.name == group_name:
                return rank
            rank += group.count
        raise KeyError(group_name)
