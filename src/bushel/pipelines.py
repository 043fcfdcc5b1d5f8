"""Pipelines written in Python. What comes out is the same document that one writes in YAML.

    from bushel.pipelines import Pipeline, Task

    drive = Pipeline("drive", discovered_by="discover", defaults={"workdir": "."})

    @drive.stage(once=True)
    def discover(task: Task) -> list[str]:
        return sorted(path.name for path in Path("/recordings").iterdir())

    @drive.stage(after="discover", resources={"cpu": 2}, outputs={"frames": "drive/frames"})
    def decode(task: Task) -> None:
        print("decoding", task.partition)

    bushel pipeline apply drive_pipeline:drive --run

Guarantees: importing a module that defines a pipeline does nothing but define it; a decorated function stays the function that it was; a
task imports that module and calls the function, with nothing in between.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from typing import Unpack

    from bushel.spec.canary import Canary
    from bushel.spec.pipeline import BadRecords, Edge, Limits, Partition, Partitions, StageOptions, Windows, Work

Function = TypeVar("Function", bound="Callable[[Task], Any]")


@dataclass(frozen=True, slots=True)
class Task:
    """What a task of a stage is told of its run."""

    pipeline: str
    run: int
    stage: str
    partition: str
    index: int
    count: int
    parameters: Mapping[str, str]
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    upstream: Mapping[str, Any]  # stage → what the same partition wrote there
    partition_start: str | None = None  # of a window of time
    partition_end: str | None = None

    @classmethod
    def current(cls, environment: Mapping[str, str] = os.environ) -> Task:
        """
        Raises:
            KeyError: this is no task of a stage.
        """
        return cls(
            pipeline=environment["BUSHEL_PIPELINE"],
            run=int(environment["BUSHEL_RUN"]),
            stage=environment["BUSHEL_STAGE"],
            partition=environment["BUSHEL_PARTITION"],
            index=int(environment["BUSHEL_PARTITION_INDEX"]),
            count=int(environment["BUSHEL_PARTITION_COUNT"]),
            parameters=json.loads(environment["BUSHEL_PARAMETERS"]),
            inputs=json.loads(environment["BUSHEL_INPUTS"]),
            outputs=json.loads(environment["BUSHEL_OUTPUTS"]),
            upstream=json.loads(environment["BUSHEL_UPSTREAM"]),
            partition_start=environment.get("BUSHEL_PARTITION_START"),
            partition_end=environment.get("BUSHEL_PARTITION_END"),
        )


@dataclass(slots=True)
class Pipeline:
    """A pipeline in the making. Of `partitions`, `windows` and `discovered_by` at most one may be given."""

    name: str
    partitions: Sequence[str | Partition] | None = None
    windows: Windows | None = None
    discovered_by: str | None = None
    project: str | None = None
    queue: str | None = None
    description: str | None = None
    parameters: Mapping[str, str] | None = None
    limits: Limits | None = None
    priority: int | str | None = None
    backfill_priority: int | str | None = None
    deadline: str | float | None = None
    bad_records: BadRecords | None = None
    canary: Canary | None = None
    defaults: Work | None = None
    python: str = "python3"
    """The interpreter that tasks are started with. `bushel` must be installed where they run."""
    _stages: dict[str, dict[str, Any]] = field(default_factory=dict)

    def stage(
        self, name: str | None = None, *, after: str | Sequence[str | Edge] = (), **fields: Unpack[StageOptions]
    ) -> Callable[[Function], Function]:
        """A stage that calls the function that follows. It is called after the function, or `name`.

        What the function gives back: None; partitions that it lists, names or mappings, as an iterable; or a mapping, its result.
        """

        def add(function: Function) -> Function:
            module = function.__module__
            if module == "__main__":
                raise ValueError("tasks import the module that defines a pipeline: it cannot be the program itself")
            called = name or function.__name__.replace("_", "-")
            run = [self.python, "-m", "bushel.pipelines", f"{module}:{function.__qualname__}"]
            self._add(called, {"run": run, **fields}, after)
            return function

        return add

    def command(self, name: str, run: str | list[str], *, after: str | Sequence[str | Edge] = (), **fields: Unpack[StageOptions]) -> None:
        """A stage that runs a command: a text for a shell, or a list of arguments."""
        self._add(name, {"run": run, **fields}, after)

    def document(self) -> dict[str, Any]:
        """The pipeline document, with folders still in place of digests."""
        made: dict[str, Any] = {"name": self.name}
        for field_name in ("project", "queue", "description", "parameters", "limits", "priority", "backfill_priority", "deadline"):
            if (value := getattr(self, field_name)) is not None:
                made[field_name] = dict(value) if isinstance(value, Mapping) else value
        for field_name in ("bad_records", "canary", "defaults"):
            if (value := getattr(self, field_name)) is not None:
                made[field_name] = dict(value)
        if partitions := self._partitions():
            made["partitions"] = partitions
        return {**made, "stages": {name: dict(stage) for name, stage in self._stages.items()}}

    def _partitions(self) -> Partitions | None:
        given: Partitions = {}
        if self.partitions is not None:
            given["list"] = [{"name": one} if isinstance(one, str) else one for one in self.partitions]
        if self.windows is not None:
            given["windows"] = self.windows
        if self.discovered_by is not None:
            given["discovered_by"] = self.discovered_by
        return given or None

    def _add(self, name: str, stage: dict[str, Any], after: str | Sequence[str | Edge]) -> None:
        if name in self._stages:
            raise ValueError(f"the pipeline {self.name} has two stages {name}")
        edges = [after] if isinstance(after, str) else list(after)
        self._stages[name] = {**stage, **({"after": edges} if edges else {})}


def call(reference: str) -> None:
    """Call the function of a stage, as a task does, and leave what it gives back where the platform looks for it."""
    module, _, name = reference.partition(":")
    sys.path.insert(0, os.getcwd())
    function: Any = importlib.import_module(module)
    for part in name.split("."):
        function = getattr(function, part)
    result = function(Task.current())
    if isinstance(result, Mapping):
        write_result(result)
    elif result is not None:
        list_partitions(result)


def write_result(result: Mapping[str, Any]) -> None:
    """What the task came to: outputs, records that were set aside."""
    _replace(os.environ["BUSHEL_RESULT_FILE"], json.dumps(dict(result), allow_nan=False))


def list_partitions(partitions: Iterable[str | Mapping[str, Any]]) -> None:
    """The partitions of the stages over this one."""
    lines = (json.dumps(one if isinstance(one, str) else dict(one)) for one in partitions)
    _replace(os.environ["BUSHEL_PARTITIONS_FILE"], "".join(f"{line}\n" for line in lines))


def _replace(path: str, text: str) -> None:
    with open(f"{path}~", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(f"{path}~", path)


if __name__ == "__main__":
    call(sys.argv[1])
