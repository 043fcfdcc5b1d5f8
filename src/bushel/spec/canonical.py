"""The canonical form of a job document: amounts as numbers, every default filled in, the rules between fields checked.

Guarantees: `canonical` either returns such a document or raises `InvalidDocument` that names every field at fault; nothing else comes
out of it, whatever goes in. A canonical document may be submitted again and is its own canonical form: memory and disk in bytes,
times in seconds, CPUs as a number, priority from 0 to 1000, `gpu` as {count, model, share}, each group with all of its resources.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from bushel.domain.errors import FieldProblem, InvalidDocument
from bushel.domain.job import GRACE_DEFAULT_SECONDS, PRIORITY_NORMAL, TIME_LIMIT_DEFAULT_SECONDS
from bushel.domain.words import plural
from bushel.spec.fields import ENVIRONMENT_LIMIT_BYTES
from bushel.spec.job import FIELDS_AT, JOB, RETRY_DEFAULT, TASKS_LIMIT
from bushel.spec.problems import MOST_PROBLEMS, field_problems, pointer
from bushel.spec.quantities import cores

DEFAULT_CPU = cores(1000)
DEFAULT_MEMORY_BYTES = 1024**3
DEFAULT_NAME = "job"
DEFAULT_NOTICE = "SIGTERM"
DEFAULT_RETRY_ON = sorted(failure.value for failure in RETRY_DEFAULT.on)
DEFAULT_BACKOFF_SECONDS = int(RETRY_DEFAULT.backoff_seconds)
DEFAULT_TIME_LIMIT_SECONDS = int(TIME_LIMIT_DEFAULT_SECONDS)
DEFAULT_GRACE_SECONDS = int(GRACE_DEFAULT_SECONDS)

Place = tuple[str | int, ...]


def canonical(document: Any, prefix: Place = ()) -> dict[str, Any]:
    """The canonical form of one document; `prefix` is where it lies in what was sent.

    Raises:
        InvalidDocument: it breaks its schema or a rule between fields.
    """
    problems: list[FieldProblem] = []
    job = _canonical(document, prefix, problems)
    if job is None:
        raise InvalidDocument(problems)
    return job


def canonical_batch(documents: Sequence[Any], prefix: Place = ("jobs",)) -> list[dict[str, Any]]:
    """The canonical forms of many documents, or all of their problems, up to `MOST_PROBLEMS`.

    Raises:
        InvalidDocument: any of them is at fault; the pointers begin with `/jobs/17`.
    """
    problems: list[FieldProblem] = []
    jobs: list[dict[str, Any]] = []
    at_fault = 0
    for number, document in enumerate(documents):
        job = _canonical(document, (*prefix, number), problems)
        if job is not None:
            jobs.append(job)
            continue
        at_fault += 1
        if len(problems) >= MOST_PROBLEMS:
            break
    if problems:
        first = problems[0]
        jobs_at_fault = "1 job is" if at_fault == 1 else f"{at_fault} jobs are"
        more = " or more" if len(problems) >= MOST_PROBLEMS else ""
        raise InvalidDocument(
            problems[:MOST_PROBLEMS], f"{jobs_at_fault} at fault{more}; none was submitted. {first.pointer}: {first.message}"
        )
    return jobs


def _canonical(document: Any, prefix: Place, problems: list[FieldProblem]) -> dict[str, Any] | None:
    """None when there are problems, which are added to `problems`."""
    before = len(problems)
    try:
        job: dict[str, Any] = JOB.validate_python(document)  # type: ignore[assignment]
    except ValidationError as error:
        problems.extend(field_problems(error, FIELDS_AT, prefix))
        if isinstance(document, Mapping):
            _check_shape(document, prefix, problems)
        return None
    _check_shape(job, prefix, problems)
    _fill_in(job, prefix, problems)
    return job if len(problems) == before else None


def _check_shape(job: Mapping[str, Any], prefix: Place, problems: list[FieldProblem]) -> None:
    """What may not stand together, and `run`: by presence alone, so that it can be said of a document with other faults too."""
    groups = job.get("groups")
    if "run" not in job and not (
        isinstance(groups, list) and groups and all(isinstance(group, Mapping) and "run" in group for group in groups)
    ):
        problems.append(FieldProblem(pointer(prefix), "`run` is needed: what the job should run", "missing", "run"))
    if groups is not None:
        for other in ("array", "nodes"):
            if other in job:
                sentence = f"a job with `groups` cannot have `{other}`: say how many tasks in each group's `count`"
                problems.append(FieldProblem(pointer((*prefix, other)), sentence, "conflict"))
    elif "array" in job and job.get("nodes", 1) != 1:
        sentence = "an array's elements are single tasks: leave out `nodes`, or submit a job for each gang"
        problems.append(FieldProblem(pointer((*prefix, "nodes")), sentence, "conflict"))


def _fill_in(job: dict[str, Any], prefix: Place, problems: list[FieldProblem]) -> None:
    resources = _resources(job.get("resources"), (*prefix, "resources"), problems)
    groups = job.get("groups")
    if groups is None:
        resources.setdefault("cpu", DEFAULT_CPU)
        resources.setdefault("memory", DEFAULT_MEMORY_BYTES)
        job["resources"] = _without_nothing(resources)
    else:
        _fill_in_groups(groups, resources, (*prefix, "groups"), problems)
        job.pop("resources", None)
    _check_slices(job, prefix, problems)
    if "name" not in job:
        programs = [part["run"] for part in (job, *(groups or ())) if "run" in part]
        job["name"] = _name_of(programs[0]) if programs else DEFAULT_NAME
    if "env" in job:
        _check_environment(job["env"], (*prefix, "env"), problems)
    if isinstance(job.get("run"), list):
        _check_arguments(job["run"], (*prefix, "run"), problems)
    if job.get("nodes") == 1:
        del job["nodes"]
    job.setdefault("priority", PRIORITY_NORMAL)
    job.setdefault("time_limit", DEFAULT_TIME_LIMIT_SECONDS)
    retry = job.setdefault("retry", {})
    retry.setdefault("attempts", RETRY_DEFAULT.attempts)
    retry["on"] = sorted(retry["on"]) if "on" in retry else list(DEFAULT_RETRY_ON)
    retry.setdefault("backoff", DEFAULT_BACKOFF_SECONDS)
    preemption = job.setdefault("preemption", {})
    preemption.setdefault("grace", DEFAULT_GRACE_SECONDS)
    preemption.setdefault("notice", DEFAULT_NOTICE)
    preemption.setdefault("checkpoint", False)
    for entry in job.get("after", ()):
        entry.setdefault("on", "success")
    for field in _DROPPED_WHEN_EMPTY:
        if field in job and not job[field]:
            del job[field]


def _check_slices(job: Mapping[str, Any], prefix: Place, problems: list[FieldProblem]) -> None:
    """Every group consists of whole slices, whichever of its sizes it starts with."""
    placement = job.get("placement", {})
    if "slices" not in placement:
        return
    size = placement["slices"]["size"]
    if "spread" in placement:
        sentence = "slices lie together and `spread` deals tasks out: leave one of them out"
        problems.append(FieldProblem(pointer((*prefix, "placement", "spread")), sentence, "conflict"))
    counts = [(("nodes",), job.get("nodes", 1))] if "groups" not in job else []
    for number, group in enumerate(job.get("groups", ())):
        counts += [(("groups", number, field), group[field]) for field in ("count", "min")]
    for place, count in counts:
        if count % size:
            sentence = f"{plural(count, 'task')} cannot be cut into slices of {size}"
            nearest = f"{count // size * size} or {(count // size + 1) * size}" if count > size else f"{size}"
            problems.append(FieldProblem(pointer((*prefix, *place)), sentence, suggestion=nearest))


_DROPPED_WHEN_EMPTY = ("env", "secrets", "labels", "placement", "after", "hold")


def _fill_in_groups(groups: list[dict[str, Any]], shared: Mapping[str, Any], place: Place, problems: list[FieldProblem]) -> None:
    names: set[str] = set()
    tasks = 0
    for number, group in enumerate(groups):
        here = (*place, number)
        own = _resources(group.get("resources"), (*here, "resources"), problems)
        merged = {"cpu": DEFAULT_CPU, "memory": DEFAULT_MEMORY_BYTES, **shared, **own}
        group["resources"] = _without_nothing(merged)
        count = group.setdefault("count", 1)
        if group.setdefault("min", count) > count:
            problems.append(FieldProblem(pointer((*here, "min")), f"must be at most the group's count, {count}"))
        tasks += count
        if group["name"] in names:
            problems.append(FieldProblem(pointer((*here, "name")), f"another group is called {group['name']} too"))
        names.add(group["name"])
        if "env" in group:
            _check_environment(group["env"], (*here, "env"), problems)
        if isinstance(group.get("run"), list):
            _check_arguments(group["run"], (*here, "run"), problems)
    if tasks > TASKS_LIMIT:
        problems.append(FieldProblem(pointer(place), f"{tasks} tasks; the most is {TASKS_LIMIT}", "too_long"))


def _resources(written: dict[str, Any] | None, place: Place, problems: list[FieldProblem]) -> dict[str, Any]:
    """As written, with `gpu` completed; one that asks for none says so by a count of 0, which overrides a shared one."""
    if written is None:
        return {}
    gpu = written.get("gpu")
    if gpu is not None:
        count = gpu.setdefault("count", 1)
        share = gpu.get("share")
        if share is not None:
            share = round(share, 3)
            if count != 1:
                problems.append(
                    FieldProblem(pointer((*place, "gpu", "share")), "a share is of one accelerator: leave out `count`, or make it 1")
                )
            elif not share:
                problems.append(FieldProblem(pointer((*place, "gpu", "share")), "must be at least 0.001"))
            if share == 1:
                del gpu["share"]
            else:
                gpu["share"] = share
    return written


def _without_nothing(resources: dict[str, Any]) -> dict[str, Any]:
    gpu = resources.get("gpu")
    if gpu is not None:
        if gpu["count"] == 0:
            del resources["gpu"]
        else:
            resources["gpu"] = dict(gpu)
    if resources.get("disk") == 0:
        del resources["disk"]
    return resources


def _check_environment(variables: Mapping[str, str], place: Place, problems: list[FieldProblem]) -> None:
    size = 0
    for name, value in variables.items():
        size += len(name) + len(value)
        if name.startswith("BUSHEL_"):
            problems.append(FieldProblem(pointer((*place, name)), "names that begin with BUSHEL_ are set by the platform"))
    if size * 4 > ENVIRONMENT_LIMIT_BYTES:
        size = sum(len(name) + len(value.encode()) for name, value in variables.items())
        if size > ENVIRONMENT_LIMIT_BYTES:
            problems.append(FieldProblem(pointer(place), f"has {size} bytes; the most is {ENVIRONMENT_LIMIT_BYTES}", "too_long"))


def _check_arguments(arguments: Sequence[str], place: Place, problems: list[FieldProblem]) -> None:
    if not arguments[0]:
        problems.append(FieldProblem(pointer((*place, 0)), "must name a program"))
    size = sum(map(len, arguments))
    if size * 4 > ENVIRONMENT_LIMIT_BYTES:
        size = sum(len(argument.encode()) for argument in arguments)
        if size > ENVIRONMENT_LIMIT_BYTES:
            problems.append(FieldProblem(pointer(place), f"has {size} bytes; the most is {ENVIRONMENT_LIMIT_BYTES}", "too_long"))


def _name_of(run: str | Sequence[str]) -> str:
    """The program's name: `train.sh` of `./train.sh --fast`."""
    first = run.split(None, 1)[:1] if isinstance(run, str) else run[:1]
    program = first[0][-200:].rpartition("/")[2] if first else ""
    return re.sub(r"[^A-Za-z0-9._-]+|^[._-]+", "", program)[:63].lstrip("._-") or DEFAULT_NAME
