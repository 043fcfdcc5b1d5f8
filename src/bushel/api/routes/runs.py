"""Runs of pipelines: begin, look, change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from bushel.api.authentication import CurrentPrincipal
from bushel.api.dependencies import CurrentDatabase, CurrentOnce, Once
from bushel.api.job_views import answer
from bushel.api.paging import Limit, Page, cut, decode_page
from bushel.api.problems import responses
from bushel.api.routes.pipelines import PipelineName, Project
from bushel.api.run_views import full_run_view, grid_view, partition_views, record_views, run_view
from bushel.control import pipelines as control
from bushel.control import run_changes, runs
from bushel.control.why_run import why
from bushel.domain.errors import NotFound
from bushel.domain.principal import Principal
from bushel.spec import pipeline_views as views
from bushel.spec.fields import VariableName, VariableValue
from bushel.spec.views import Page as PageView
from bushel.store import pipelines, run_reads
from bushel.store import runs as store
from bushel.store.database import Database, Transaction

router = APIRouter(tags=["runs"])

RunNumber = Annotated[str, Path(pattern=r"^(latest|[1-9][0-9]{0,8})$", description="Its number, or `latest`.")]
Pattern = Annotated[str, Field(min_length=1, max_length=520, pattern=r"^[^\x00]*$")]
StageName = Annotated[str, Query(min_length=1, max_length=40, pattern=r"^[^\x00]*$")]
Text = Annotated[str, Query(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]


class NewRun(BaseModel):
    """What of the pipeline to run. Everything may be left out."""

    model_config = ConfigDict(extra="forbid")

    parameters: dict[VariableName, VariableValue] = Field(default={}, max_length=200)
    partitions: list[Pattern] | None = Field(default=None, min_length=1, max_length=10_000, description="Names, `2026-*`, or `a..b`.")
    backfill: bool = Field(default=False, description="At the priority of back-fills.")
    version: int | None = Field(default=None, ge=1, le=2**31 - 1, description="Default: the newest.")


class Rerun(BaseModel):
    """What is to be done again, beside what has not succeeded."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    stages: list[Pattern] = Field(default=[], alias="from", max_length=200, description="These stages, and all that is made of them.")
    where: Pattern | None = Field(default=None, description="What was made by such code: code<v2")
    partitions: list[Pattern] = Field(default=[], max_length=10_000, description="Of these partitions alone.")
    version: int | None = Field(default=None, ge=1, le=2**31 - 1, description="Default: the newest.")


class RunCancellation(BaseModel):
    model_config = ConfigDict(extra="forbid")

    message: str | None = Field(default=None, max_length=1000, pattern=r"^[^\x00]*$", description="Why, for whoever reads the run.")


class RunApproval(BaseModel):
    """A gate of a canary is let pass."""

    model_config = ConfigDict(extra="forbid")

    message: str = Field(
        min_length=1, max_length=1000, pattern=r"^[^\x00]*$", description="Why, for the audit and for whoever reads the run."
    )


def _find(tx: Transaction, principal: Principal, pipeline: str, project: str | None, run: str) -> dict[str, Any]:
    found = control.find_pipeline(tx, principal, pipeline, project)
    run_id = run_changes.find_run(tx, found, None if run == "latest" else int(run))
    return store.read(tx, run_id) or {}


def _answer_run(tx: Transaction, run_id: int, status: int = 200) -> Any:
    tx.flush()
    view = full_run_view(tx, store.read(tx, run_id) or {})
    return answer(view, status, {"Location": f"/v1/pipelines/{view['pipeline']}/runs/{view['number']}"} if status == 201 else None)


_MADE: dict[int | str, dict[str, Any]] = {**responses(409, 429), 201: {"model": views.RunView}}


@router.post("/pipelines/{pipeline}/runs", status_code=201, responses=_MADE)
def run_pipeline(
    pipeline: PipelineName,
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    once: CurrentOnce,
    request: NewRun | None = None,
    project: Project = None,
) -> Any:
    """Begin a run."""
    asked = request or NewRun()

    def make() -> dict[str, Any]:
        found = control.find_pipeline(tx, principal, pipeline, project)
        principal.may("job:submit", found["project"], f"project {found['project']}")
        version = asked.version or found["version"]
        document = control.document_of(tx, found, version)
        place = control.destination(tx, principal, document, found["project"])
        options = {"parameters": asked.parameters, "chosen": asked.partitions, "backfill": asked.backfill}
        return {"run": runs.begin(tx, principal, found, document, version, place.queue_id, **options)}

    with database.transaction() as tx:
        return _answer_run(tx, once(tx, principal.id, make)["run"], 201)


@router.get("/pipelines/{pipeline}/runs", responses={**responses(409), 200: {"model": PageView[views.RunView]}})
def list_runs(
    pipeline: PipelineName,
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    project: Project = None,
    limit: Limit = 100,
    page: Page = None,
) -> Any:
    """Runs, newest first, without their stages."""
    before = decode_page(page, int) or [2**31 - 1]
    with database.transaction() as tx:
        found = control.find_pipeline(tx, principal, pipeline, project)
        rows = store.page(tx, found["id"], min(before[0], 2**31 - 1), limit + 1)
    rows, next_page = cut(rows, limit, lambda row: [row["number"]])
    return answer({"items": [run_view(row) for row in rows], "next_page": next_page})


@router.get("/pipelines/{pipeline}/runs/{run}", responses={**responses(409), 200: {"model": views.RunView}})
def get_run(pipeline: PipelineName, run: RunNumber, principal: CurrentPrincipal, database: CurrentDatabase, project: Project = None) -> Any:
    """One run: how far each stage is, how fast, what is slow."""
    with database.transaction() as tx:
        return answer(full_run_view(tx, _find(tx, principal, pipeline, project, run)))


@router.get("/pipelines/{pipeline}/runs/{run}/grid", responses={**responses(409), 200: {"model": views.GridView}})
def get_grid(
    pipeline: PipelineName,
    run: RunNumber,
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    columns: Annotated[int, Query(ge=1, le=1000, description="Most cells of a stage.")] = 80,
    project: Project = None,
) -> Any:
    """Where the partitions of each stage are, in cells of equally many."""
    with database.transaction() as tx:
        return answer(grid_view(tx, _find(tx, principal, pipeline, project, run)["id"], columns))


@router.get("/pipelines/{pipeline}/runs/{run}/partitions", responses={**responses(409), 200: {"model": PageView[views.PartitionView]}})
def list_partitions(
    pipeline: PipelineName,
    run: RunNumber,
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    stage: StageName,
    state: Literal["gated", "pending", "live", "succeeded", "failed", "cancelled"] | None = None,
    project: Project = None,
    limit: Limit = 100,
    page: Page = None,
) -> Any:
    """Partitions of a stage, in their order."""
    after = decode_page(page, int) or [-1]
    with database.transaction() as tx:
        found = _find(tx, principal, pipeline, project, run)
        row = next((row for row in store.stages(tx, [found["id"]]) if row["name"] == stage), None)
        if row is None:
            raise NotFound(f"run {found['number']} of {pipeline} has no stage {stage}")
        counted = run_reads.counts(tx, [found["id"]]).get(row["id"])
        items = partition_views(tx, row, counted, state, max(-1, min(after[0], 2**31 - 2)), limit + 1)
    items, next_page = cut(items, limit, lambda item: [item["index"]])
    return answer({"items": items, "next_page": next_page})


@router.get("/pipelines/{pipeline}/runs/{run}/records", responses={**responses(409), 200: {"model": PageView[views.SetAsideView]}})
def list_records(
    pipeline: PipelineName,
    run: RunNumber,
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    stage: StageName | None = None,
    project: Project = None,
    limit: Limit = 100,
    page: Page = None,
) -> Any:
    """Partitions of which records were set aside, with the first of these."""
    after = decode_page(page, int, int, int) or [-1, -1, -1]
    bounded = [max(-1, min(number, limit_of)) for number, limit_of in zip(after, (2**31 - 1, 2**62, 2**31 - 1), strict=True)]
    with database.transaction() as tx:
        found = _find(tx, principal, pipeline, project, run)
        rows = run_reads.records(tx, found["id"], stage, (bounded[0], bounded[1], bounded[2]), limit + 1)
        rows, next_page = cut(rows, limit, lambda row: [row["position"], row["job_id"], row["index"]])
        return answer({"items": record_views(tx, rows), "next_page": next_page})


@router.get("/pipelines/{pipeline}/runs/{run}/why", responses={**responses(409), 200: {"model": views.WhyView}})
def why_run(
    pipeline: PipelineName,
    run: RunNumber,
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    stage: StageName,
    partition: Text,
    project: Project = None,
) -> Any:
    """Why a partition was done again: what of all that its result depends on had changed."""
    with database.transaction() as tx:
        found = _find(tx, principal, pipeline, project, run)
        document = pipelines.document(tx, found["pipeline_id"], found["version"]) or {}
        return answer(why(tx, found, document, stage, partition))


def _change(database: Database, principal: Principal, once: Once, make: Callable[[Transaction], int], status: int = 200) -> Any:
    """`make(tx)` changes a run, once for each key, and gives the id of the run to show."""
    with database.transaction() as tx:
        return _answer_run(tx, once(tx, principal.id, lambda: {"run": make(tx)})["run"], status)


_CHANGED: dict[int | str, dict[str, Any]] = {**responses(409), 200: {"model": views.RunView}}


@router.post("/pipelines/{pipeline}/runs/{run}/pause", responses=_CHANGED)
def pause_run(
    pipeline: PipelineName,
    run: RunNumber,
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    once: CurrentOnce,
    project: Project = None,
) -> Any:
    """Start no more of it. What runs goes on."""

    def make(tx: Transaction) -> int:
        found = _find(tx, principal, pipeline, project, run)
        run_changes.set_run_paused(tx, principal, found["id"], True)
        return found["id"]

    return _change(database, principal, once, make)


@router.post("/pipelines/{pipeline}/runs/{run}/resume", responses=_CHANGED)
def resume_run(
    pipeline: PipelineName,
    run: RunNumber,
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    once: CurrentOnce,
    project: Project = None,
) -> Any:
    """Let it go on."""

    def make(tx: Transaction) -> int:
        found = _find(tx, principal, pipeline, project, run)
        run_changes.set_run_paused(tx, principal, found["id"], False)
        return found["id"]

    return _change(database, principal, once, make)


@router.post("/pipelines/{pipeline}/runs/{run}/cancel", responses=_CHANGED)
def cancel_run(
    pipeline: PipelineName,
    run: RunNumber,
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    once: CurrentOnce,
    request: RunCancellation | None = None,
    project: Project = None,
) -> Any:
    """Stop all of it. Cancelling a run that has ended changes nothing."""

    def make(tx: Transaction) -> int:
        found = _find(tx, principal, pipeline, project, run)
        run_changes.cancel_run(tx, principal, found["id"], (request or RunCancellation()).message)
        return found["id"]

    return _change(database, principal, once, make)


@router.post("/pipelines/{pipeline}/runs/{run}/rerun", status_code=201, responses=_MADE)
def rerun(
    pipeline: PipelineName,
    run: RunNumber,
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    once: CurrentOnce,
    request: Rerun | None = None,
    project: Project = None,
) -> Any:
    """A new run that does again what has not succeeded, and what is asked for; the rest stands."""
    asked = request or Rerun()
    redo = run_changes.Redo(tuple(asked.stages), asked.where, tuple(asked.partitions))

    def make(tx: Transaction) -> int:
        found = _find(tx, principal, pipeline, project, run)
        return run_changes.rerun(tx, principal, found["id"], redo, version=asked.version)

    return _change(database, principal, once, make, 201)


_APPROVED: dict[int | str, dict[str, Any]] = {**_CHANGED, **_MADE}


@router.post("/pipelines/{pipeline}/runs/{run}/approve", status_code=201, responses=_APPROVED)
def approve_run(
    pipeline: PipelineName,
    run: RunNumber,
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    once: CurrentOnce,
    request: RunApproval,
    project: Project = None,
) -> Any:
    """Go on whatever the gates of its canary say: with a new run where they stopped it (201), else with this one (200)."""

    def make() -> dict[str, Any]:
        found = _find(tx, principal, pipeline, project, run)
        made = run_changes.approve(tx, principal, found["id"], request.message)
        return {"run": made, "new": made != found["id"]}

    with database.transaction() as tx:
        made = once(tx, principal.id, make)
        return _answer_run(tx, made["run"], 201 if made["new"] else 200)
