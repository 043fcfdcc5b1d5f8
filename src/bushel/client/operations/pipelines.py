"""Pipelines and their runs. A run is named by its number; None is the newest."""

from __future__ import annotations

from bushel.client.http1 import quote
from bushel.client.operation import Operation, with_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bushel.spec.pipeline_views import (
        DiffView,
        GridView,
        PartitionView,
        PipelineView,
        PlanView,
        RunView,
        SetAsideView,
        VersionView,
        WhyView,
    )
    from bushel.spec.views import Page


def plan(document: Mapping[str, object], *, project: str | None = None) -> Operation[PlanView]:
    """What applying and running the document would do; changes nothing."""
    return Operation("POST", "/v1/pipelines/plan", parameters=[("project", project)], document=document)


def apply(document: Mapping[str, object], *, project: str | None = None, idempotency_key: str | None = None) -> Operation[PipelineView]:
    """Make the document the newest version. The same one again changes nothing."""
    return Operation("POST", "/v1/pipelines", parameters=[("project", project)], document=document, headers=with_key(idempotency_key))


def pipelines_page(*, project: str | None = None, limit: int | None = None, page: str | None = None) -> Operation[Page[PipelineView]]:
    return Operation("GET", "/v1/pipelines", parameters=[("project", project), ("limit", limit), ("page", page)])


def get_pipeline(pipeline: str, *, version: int | None = None, project: str | None = None) -> Operation[PipelineView]:
    return Operation("GET", _path(pipeline), parameters=[("version", version), ("project", project)])


def versions_page(
    pipeline: str, *, project: str | None = None, limit: int | None = None, page: str | None = None
) -> Operation[Page[VersionView]]:
    return Operation("GET", _path(pipeline, "versions"), parameters=[("project", project), ("limit", limit), ("page", page)])


def diff(pipeline: str, *, before: int | None = None, after: int | None = None, project: str | None = None) -> Operation[DiffView]:
    """How one version differs from another; left out: the newest, and the one before it."""
    return Operation("GET", _path(pipeline, "diff"), parameters=[("before", before), ("after", after), ("project", project)])


def pause_pipeline(pipeline: str, *, project: str | None = None, idempotency_key: str | None = None) -> Operation[PipelineView]:
    return Operation("POST", _path(pipeline, "pause"), parameters=[("project", project)], headers=with_key(idempotency_key))


def resume_pipeline(pipeline: str, *, project: str | None = None, idempotency_key: str | None = None) -> Operation[PipelineView]:
    return Operation("POST", _path(pipeline, "resume"), parameters=[("project", project)], headers=with_key(idempotency_key))


def run(
    pipeline: str,
    *,
    parameters: Mapping[str, str] | None = None,
    partitions: Sequence[str] | None = None,
    backfill: bool = False,
    version: int | None = None,
    project: str | None = None,
    idempotency_key: str | None = None,
) -> Operation[RunView]:
    """Begin a run. `partitions` are names, `2026-01-*`, or `a..b`."""
    asked: dict[str, object] = {}
    if parameters:
        asked["parameters"] = dict(parameters)
    if partitions:
        asked["partitions"] = list(partitions)
    if backfill:
        asked["backfill"] = True
    if version is not None:
        asked["version"] = version
    return Operation("POST", _path(pipeline, "runs"), parameters=[("project", project)], document=asked, headers=with_key(idempotency_key))


def runs_page(pipeline: str, *, project: str | None = None, limit: int | None = None, page: str | None = None) -> Operation[Page[RunView]]:
    """Newest first."""
    return Operation("GET", _path(pipeline, "runs"), parameters=[("project", project), ("limit", limit), ("page", page)])


def get_run(pipeline: str, number: int | None = None, *, project: str | None = None) -> Operation[RunView]:
    return Operation("GET", _run(pipeline, number), parameters=[("project", project)])


def grid(pipeline: str, number: int | None = None, *, columns: int = 80, project: str | None = None) -> Operation[GridView]:
    """Where the partitions of each stage are, in at most so many cells."""
    return Operation("GET", _run(pipeline, number, "grid"), parameters=[("columns", columns), ("project", project)])


def partitions_page(
    pipeline: str,
    number: int | None = None,
    *,
    stage: str,
    state: str | None = None,
    project: str | None = None,
    limit: int | None = None,
    page: str | None = None,
) -> Operation[Page[PartitionView]]:
    parameters = [("stage", stage), ("state", state), ("project", project), ("limit", limit), ("page", page)]
    return Operation("GET", _run(pipeline, number, "partitions"), parameters=parameters)


def records_page(
    pipeline: str,
    number: int | None = None,
    *,
    stage: str | None = None,
    project: str | None = None,
    limit: int | None = None,
    page: str | None = None,
) -> Operation[Page[SetAsideView]]:
    """Partitions of which records were set aside."""
    parameters = [("stage", stage), ("project", project), ("limit", limit), ("page", page)]
    return Operation("GET", _run(pipeline, number, "records"), parameters=parameters)


def why(pipeline: str, number: int | None = None, *, stage: str, partition: str, project: str | None = None) -> Operation[WhyView]:
    """Why a partition was done again, or why not."""
    return Operation("GET", _run(pipeline, number, "why"), parameters=[("stage", stage), ("partition", partition), ("project", project)])


def pause(
    pipeline: str, number: int | None = None, *, project: str | None = None, idempotency_key: str | None = None
) -> Operation[RunView]:
    return _change(pipeline, number, "pause", {}, project, idempotency_key)


def resume(
    pipeline: str, number: int | None = None, *, project: str | None = None, idempotency_key: str | None = None
) -> Operation[RunView]:
    return _change(pipeline, number, "resume", {}, project, idempotency_key)


def cancel(
    pipeline: str,
    number: int | None = None,
    *,
    message: str | None = None,
    project: str | None = None,
    idempotency_key: str | None = None,
) -> Operation[RunView]:
    """Stop all of it. Cancelling a run that has ended changes nothing."""
    return _change(pipeline, number, "cancel", {"message": message} if message else {}, project, idempotency_key)


def rerun(
    pipeline: str,
    number: int | None = None,
    *,
    stages: Sequence[str] = (),
    where: str | None = None,
    partitions: Sequence[str] = (),
    version: int | None = None,
    project: str | None = None,
    idempotency_key: str | None = None,
) -> Operation[RunView]:
    """A new run that does again what has not succeeded, from these stages on, or what was made by code that `where` tells."""
    asked = {"from": list(stages), "where": where, "partitions": list(partitions), "version": version}
    return _change(pipeline, number, "rerun", {name: value for name, value in asked.items() if value}, project, idempotency_key)


def approve(
    pipeline: str, number: int | None = None, *, message: str, project: str | None = None, idempotency_key: str | None = None
) -> Operation[RunView]:
    """Go on whatever the gates of its canary say: a new run where they stopped it."""
    return _change(pipeline, number, "approve", {"message": message}, project, idempotency_key)


def _change(
    pipeline: str, number: int | None, verb: str, document: Mapping[str, object], project: str | None, key: str | None
) -> Operation[RunView]:
    return Operation("POST", _run(pipeline, number, verb), parameters=[("project", project)], document=document, headers=with_key(key))


def _path(pipeline: str, *rest: str) -> str:
    if not pipeline:
        raise ValueError("a pipeline is named by its name, not by nothing")
    return "/".join(("/v1/pipelines", quote(pipeline), *rest))


def _run(pipeline: str, number: int | None, *rest: str) -> str:
    return _path(pipeline, "runs", "latest" if number is None else str(number), *rest)
