"""Pipelines: what a document would change, applying it, its versions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query

from bushel.api.authentication import CurrentPrincipal
from bushel.api.dependencies import CurrentDatabase, CurrentOnce, Once
from bushel.api.job_views import answer
from bushel.api.paging import Limit, Page, cut, decode_page
from bushel.api.problems import responses
from bushel.api.run_views import change_views, pipeline_view, plan_view, version_view
from bushel.control import pipelines as control
from bushel.control.audit import audit
from bushel.domain.errors import NotFound
from bushel.domain.principal import Principal
from bushel.spec import pipeline_views as views
from bushel.spec.fields import ScopePath
from bushel.spec.pipeline_canonical import canonical_pipeline
from bushel.spec.schema import pipeline_schema
from bushel.spec.views import Page as PageView
from bushel.store import jobs, pipelines
from bushel.store.database import Database, Event

router = APIRouter(tags=["pipelines"])

PipelineName = Annotated[str, Path(min_length=1, max_length=40, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Its name.")]
Project = Annotated[ScopePath | None, Query(description="Where the name is looked for; where a document goes that names no project.")]
Version = Annotated[int | None, Query(ge=1, le=2**31 - 1)]
Document = Annotated[dict[str, Any], Body(description="A pipeline document: see /v1/schemas/pipeline.")]


@router.get("/schemas/pipeline", responses=responses())
async def get_pipeline_schema(_: CurrentPrincipal) -> dict[str, Any]:
    """JSON Schema of the pipeline document."""
    return pipeline_schema()


@router.post("/pipelines/plan", responses={**responses(409, 429), 200: {"model": views.PlanView}})
def plan_pipeline(
    document: Document, principal: CurrentPrincipal, database: CurrentDatabase, _: CurrentOnce, project: Project = None
) -> Any:
    """What applying the document would change, and what a run of it would take. Changes nothing."""
    canonical = canonical_pipeline(document)
    with database.transaction() as tx:
        place, found, changes = control.compare(tx, principal, canonical, project)
        control.check_work(tx, canonical, place)
        before = control.document_of(tx, found) if found else None
        return answer(plan_view(tx, place, found, before, canonical, changes))


@router.post("/pipelines", responses={**responses(409, 429), 200: {"model": views.PipelineView}})
def apply_pipeline(
    document: Document, principal: CurrentPrincipal, database: CurrentDatabase, once: CurrentOnce, project: Project = None
) -> Any:
    """Make the document the newest version of its pipeline. The same document again changes nothing."""
    canonical = canonical_pipeline(document)

    def make() -> dict[str, Any]:
        row, changed = control.apply(tx, principal, canonical, project)
        return pipeline_view(row, changed=changed)

    with database.transaction() as tx:
        return answer(once(tx, principal.id, make))


@router.get("/pipelines", responses={**responses(), 200: {"model": PageView[views.PipelineView]}})
def list_pipelines(
    principal: CurrentPrincipal, database: CurrentDatabase, project: Project = None, limit: Limit = 100, page: Page = None
) -> Any:
    """Pipelines that the caller may see, by project and name, without their documents."""
    after = decode_page(page, str, str) or ["", ""]
    with database.transaction() as tx:
        places = jobs.projects_below(tx, principal.paths("pipeline:read"), project)
        if project is not None and not places:
            raise NotFound(f"there is no project {project}, or you may not see it")
        rows = pipelines.page(tx, [place["id"] for place in places], (after[0], after[1]), limit + 1)
    rows, next_page = cut(rows, limit, lambda row: [row["project"], row["name"]])
    return answer({"items": [pipeline_view(row) for row in rows], "next_page": next_page})


@router.get("/pipelines/{pipeline}", responses={**responses(409), 200: {"model": views.PipelineView}})
def get_pipeline(
    pipeline: PipelineName, principal: CurrentPrincipal, database: CurrentDatabase, project: Project = None, version: Version = None
) -> Any:
    """One pipeline with its document."""
    with database.transaction() as tx:
        row = control.find_pipeline(tx, principal, pipeline, project)
        return answer(pipeline_view(row, document=control.document_of(tx, row, version)))


@router.get("/pipelines/{pipeline}/versions", responses={**responses(409), 200: {"model": PageView[views.VersionView]}})
def list_versions(
    pipeline: PipelineName,
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    project: Project = None,
    limit: Limit = 100,
    page: Page = None,
) -> Any:
    """Versions, newest first."""
    before = decode_page(page, int) or [2**31 - 1]
    with database.transaction() as tx:
        row = control.find_pipeline(tx, principal, pipeline, project)
        rows = pipelines.versions(tx, row["id"], min(before[0], 2**31 - 1), limit + 1)
    rows, next_page = cut(rows, limit, lambda row: [row["version"]])
    return answer({"items": [version_view(row) for row in rows], "next_page": next_page})


@router.get("/pipelines/{pipeline}/diff", responses={**responses(409), 200: {"model": views.DiffView}})
def diff_versions(
    pipeline: PipelineName,
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    before: Version = None,
    after: Version = None,
    project: Project = None,
) -> Any:
    """How one version differs from another. Left out: the newest, and the one before it."""
    with database.transaction() as tx:
        row = control.find_pipeline(tx, principal, pipeline, project)
        second = after or row["version"]
        first = before or max(1, second - 1)
        changes = control.differences(control.document_of(tx, row, first), control.document_of(tx, row, second))
    return answer({"before": first, "after": second, "changes": change_views(changes)})


def _set_paused(database: Database, principal: Principal, once: Once, name: str, project: str | None, paused: bool) -> Any:
    def make() -> dict[str, Any]:
        row = control.find_pipeline(tx, principal, name, project)
        principal.may("pipeline:change", row["project"], f"pipeline {name}")
        if row["paused"] != paused:
            pipelines.set_paused(tx, row["id"], paused)
            what = "paused" if paused else "resumed"
            tx.emit(Event(f"pipeline.{what}", row["project"], f"pipeline/{name}", principal.name, {"paused": paused}))
            audit(tx, principal, f"pipeline:{'pause' if paused else 'resume'}", f"pipeline/{name}", row["project"])
            tx.wake("pipelines")
        return pipeline_view({**row, "paused": paused})

    with database.transaction() as tx:
        return answer(once(tx, principal.id, make))


_CHANGED: dict[int | str, dict[str, Any]] = {**responses(409), 200: {"model": views.PipelineView}}


@router.post("/pipelines/{pipeline}/pause", responses=_CHANGED)
def pause_pipeline(
    pipeline: PipelineName, principal: CurrentPrincipal, database: CurrentDatabase, once: CurrentOnce, project: Project = None
) -> Any:
    """Open no more partitions of any of its runs. What was opened goes on."""
    return _set_paused(database, principal, once, pipeline, project, True)


@router.post("/pipelines/{pipeline}/resume", responses=_CHANGED)
def resume_pipeline(
    pipeline: PipelineName, principal: CurrentPrincipal, database: CurrentDatabase, once: CurrentOnce, project: Project = None
) -> Any:
    """Let its runs go on."""
    return _set_paused(database, principal, once, pipeline, project, False)
