"""Traces of four kinds, as jobs.

Guarantees: the kind is told by the file itself, never by its name; a row that cannot be meant (no runtime, no size) is left out
and counted; anything else that is wrong is an error that says what.

- the Standard Workload Format: `;` comments and 18 numbers a line (Chapin et al. 1999; Feitelson's archive);
- openb: one CSV of pods with `num_gpu`, `gpu_milli`, `gpu_spec`, creation, scheduling and deletion times;
- gangs with durations by hardware: `arrival_s, model, gpus, v100_s`, one file a tenant;
- jobs as Bushel tells them: JSON lines of `bushel what-if --save`, or a CSV with `arrival_s, queue, runtime_s` and more if known.
"""

from __future__ import annotations

import csv
import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from bushel.scheduling.entities import ShapeClass
from bushel.simulation.trace import TraceJob, TraceProblem, gang_of_accelerators, one_group
from bushel.workloads.compile import compile_job

_MIB, _GIB = 1 << 20, 1 << 30
_LEAST_SECONDS = 1.0
_COLUMNS = (
    *("arrival_s", "runtime_s", "queue", "submitter", "name", "tasks", "elements"),
    *("cpu", "memory_gib", "gpu", "gpu_model", "priority", "declared_s", "checkpoint_s"),
)
"""Of rows of one's own."""


@dataclass(frozen=True, slots=True)
class Trace:
    """By arrival, the first at 0. `left_out`: rows that said nothing of use."""

    jobs: tuple[TraceJob, ...]
    left_out: int = 0

    @property
    def span_seconds(self) -> float:
        return self.jobs[-1].arrival_seconds if self.jobs else 0.0


def read_traces(files: Iterable[Path], *, per_node: int = 8, limit: int | None = None) -> Trace:
    """All files together. `per_node`: accelerators of one node, for gangs whose files give only a number of them."""
    found: list[TraceJob] = []
    left_out = 0
    for file in files:
        for job in _read(file, per_node):
            if job is None:
                left_out += 1
            else:
                found.append(job)
    if not found:
        raise TraceProblem("no job in " + ", ".join(str(file) for file in files))
    found.sort(key=lambda job: job.arrival_seconds)  # stable: within a moment in the order of the files
    first = found[0].arrival_seconds
    numbered = [replace(job, id=at, arrival_seconds=job.arrival_seconds - first) for at, job in enumerate(found[:limit], start=1)]
    return Trace(tuple(numbered), left_out)


def _read(file: Path, per_node: int) -> Iterator[TraceJob | None]:
    with file.open(newline="", encoding="utf-8") as lines:
        start = lines.read(4096)
        lines.seek(0)
        first = next((line for line in start.splitlines() if line.strip()), "")
        if first.startswith("{"):
            yield from _each(file, lambda line: job_of_history(json.loads(line)), (line for line in lines if line.strip()))
        elif first.startswith(";") or not any(character.isalpha() for character in first):
            yield from _each(file, _job_of_swf, (line.split() for line in lines if line.strip() and not line.startswith(";")))
        else:
            rows = csv.DictReader(lines)
            yield from _each(file, _kind_of_csv(file, rows.fieldnames or (), per_node), rows)


def _each(file: Path, job_of: Callable[[Any], TraceJob | None], rows: Iterable[Any]) -> Iterator[TraceJob | None]:
    for number, row in enumerate(rows, start=1):
        try:
            yield job_of(row)
        except (KeyError, ValueError, TypeError, AttributeError, IndexError) as problem:
            raise TraceProblem(f"{file.name}: row {number}: {what_is_wrong(row, problem)}") from problem


def what_is_wrong(row: object, problem: Exception) -> str:
    """With the column, where the problem is about the text in one."""
    if isinstance(problem, KeyError):
        return f"it has no {problem.args[0]}"
    cells = row.items() if isinstance(row, Mapping) else ()
    column = next((name for name, text in cells if text and repr(text) in str(problem)), None)
    return f"{column} is a number, not {row[column]!r}" if column and isinstance(row, Mapping) else str(problem)


def _kind_of_csv(file: Path, named: Iterable[str], per_node: int) -> Callable[[Mapping[str, str]], TraceJob | None]:
    columns = set(named)
    if {"num_gpu", "gpu_milli"} <= columns:
        return _job_of_pod
    if {"arrival_s", "model", "gpus", "v100_s"} <= columns:
        return lambda row: _job_of_gang(row, file.stem, per_node)
    if {"arrival_s", "runtime_s"} <= columns:
        for column in sorted(columns.difference(_COLUMNS)):  # others may be there for other programs; a misspelt one would be ignored
            if meant := difflib.get_close_matches(column, set(_COLUMNS) - columns, 1, 0.8):
                raise TraceProblem(f"{file.name}: its column {column} is not read. Did you mean {meant[0]}?")
        return _job_of_row
    raise TraceProblem(
        f"{file.name}: its columns ({', '.join(sorted(columns))}) are of no known trace; rows of your own have arrival_s and runtime_s"
    )


def _job_of_swf(fields: list[str]) -> TraceJob | None:
    """Fields by number, -1 for what is not known: 2 submission, 4 run time, 5 and 8 processors, 7 and 10 memory, 9 time asked for."""
    values = [float(field) for field in fields[:18]]
    runtime, processors = values[3], values[7] if values[7] > 0 else values[4]
    if runtime <= 0 or processors <= 0:
        return None
    kilobytes = values[9] if values[9] > 0 else max(0.0, values[6])
    return TraceJob(
        *(0, f"queue-{int(values[14])}" if values[14] >= 0 else "main", values[1], runtime),
        one_group(int(processors), 1000, int(kilobytes) * 1024),
        name=f"program-{int(values[13])}",
        submitter=f"user-{int(values[11])}",
        declared_seconds=values[8] if values[8] > 0 else None,
    )


def _job_of_pod(row: Mapping[str, str]) -> TraceJob | None:
    ended, begun = row.get("deletion_time") or "", row.get("scheduled_time") or row["creation_time"]
    if not ended or float(ended) <= float(begun):
        return None
    gpus, milli = int(row["num_gpu"]), int(row["gpu_milli"] or 0)
    models = tuple(model for model in (row.get("gpu_spec") or "").split("|") if model)
    shape = one_group(1, int(row["cpu_milli"]), int(row["memory_mib"]) * _MIB, gpus * milli, models if gpus else ())
    kind = "cpu" if not gpus else f"gpu-{gpus}" if milli == 1000 else "gpu-share"
    return TraceJob(0, row.get("qos") or "main", float(row["creation_time"]), float(ended) - float(begun), shape, name=kind)


def _job_of_gang(row: Mapping[str, str], tenant: str, per_node: int) -> TraceJob | None:
    if int(row["gpus"]) <= 0 or float(row["v100_s"]) <= 0:
        return None
    shape = gang_of_accelerators(int(row["gpus"]), per_node)
    runtime = max(_LEAST_SECONDS, float(row["v100_s"]))
    return TraceJob(0, tenant, float(row["arrival_s"]), runtime, shape, name=row["model"], checkpoint_seconds=600.0)


def _job_of_row(row: Mapping[str, str]) -> TraceJob | None:
    """Only arrival and runtime are needed; one CPU where nothing is asked for."""
    if float(row["runtime_s"] or 0) <= 0:
        return None
    gpu_milli = round(1000 * float(row.get("gpu") or 0))
    models = tuple(model for model in (row.get("gpu_model") or "").split("|") if model)
    request = round(1000 * float(row.get("cpu") or 1)), round(_GIB * float(row.get("memory_gib") or 0)), gpu_milli
    return TraceJob(
        *(0, row.get("queue") or "main", float(row["arrival_s"]), float(row["runtime_s"])),
        one_group(int(row.get("tasks") or 1), *request, models if gpu_milli else ()),
        name=row.get("name") or "",
        submitter=row.get("submitter") or "",
        priority=int(row.get("priority") or 500),
        elements=int(row.get("elements") or 1),
        declared_seconds=float(row["declared_s"]) if row.get("declared_s") else None,
        checkpoint_seconds=float(row["checkpoint_s"]) if row.get("checkpoint_s") else None,
    )


def job_of_history(row: dict[str, Any]) -> TraceJob | None:
    """A job as the API tells it. What did not run to an end says nothing of how long it would have taken."""
    metadata, spec, status = row["metadata"], row["spec"], row["status"]
    begun, ended = status.get("started_at"), status.get("ended_at")
    if not begun or not ended:
        return None
    shape = compile_job(spec)
    elements = shape.element_count
    runtime = (_moment(ended) - _moment(begun)) / -(-elements // (shape.array_limit or elements))
    return TraceJob(
        *(0, metadata["queue"], _moment(metadata["submitted_at"]), max(_LEAST_SECONDS, runtime), ShapeClass.of(shape)),
        name=metadata.get("name") or "",
        submitter=metadata.get("submitter") or "",
        priority=shape.priority,
        elements=elements,
        array_limit=shape.array_limit,
        declared_seconds=float(spec["expected_duration"]) if "expected_duration" in spec else None,
        checkpoint_seconds=600.0 if shape.checkpoints else None,
        retry=shape.retry,
    )


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
