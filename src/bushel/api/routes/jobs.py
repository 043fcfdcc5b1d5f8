"""Jobs: submit, look, change."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from bushel.api.authentication import CurrentPrincipal
from bushel.api.dependencies import CurrentDatabase, CurrentOnce, Once
from bushel.api.direct import DirectRoute, PlainRequest
from bushel.api.job_requests import CurrentJobQuery, Documents, JobSelection, job_filter, page_of_jobs, submission_schema, whole_body
from bushel.api.job_views import answer, attempt_views, full_view, job_view, list_views
from bushel.api.paging import Limit, Page, cut, decode_page
from bushel.api.problems import responses
from bushel.control import cancel as cancelling
from bushel.control import jobs as control
from bushel.control.submit import dry_run as try_out
from bushel.control.submit import submit
from bushel.domain.errors import FieldProblem, InvalidDocument
from bushel.domain.lifecycle import JobState
from bushel.domain.principal import Principal
from bushel.domain.ranges import IndexRanges
from bushel.spec import views
from bushel.spec.fields import ScopePath
from bushel.spec.schema import job_schema
from bushel.store import jobs
from bushel.store.database import Database, Transaction
from bushel.workloads.compile import compile_job

router = APIRouter(tags=["jobs"])

MOST_PLANNED = 10
"""Most jobs of a dry run whose start is planned."""

JobReference = Annotated[str, Path(min_length=1, max_length=63, description="The job's id, or the name of the newest one.")]
Project = Annotated[ScopePath | None, Query(description="Where a name is looked for, and where documents go that name no project.")]
Message = Annotated[str | None, Field(max_length=1000, pattern=r"^[^\x00]*$", description="Why, for whoever reads the job.")]


class Cancellation(BaseModel):
    """All of the job, or some indices of an array."""

    model_config = ConfigDict(extra="forbid")

    indices: str | None = Field(default=None, max_length=100_000, description="0-9,12")
    message: Message = Field(default=None)


class CancellationOfMany(BaseModel):
    """Everything that the filter selects and that has not ended."""

    model_config = ConfigDict(extra="forbid")

    filter: JobSelection
    message: Message = Field(default=None)


class Retrial(BaseModel):
    """What of a job that has ended is to be done again."""

    model_config = ConfigDict(extra="forbid")

    only: Literal["failed", "all"] = "failed"


@router.get("/schemas/job", responses=responses())
async def get_job_schema(_: CurrentPrincipal) -> dict[str, Any]:
    """JSON Schema of the job document."""
    return job_schema()


_SUBMITTED = {
    200: {"model": views.JobView | views.SubmittedView, "description": "What would happen (`dry_run`)"},
    201: {"model": views.JobView | views.SubmittedView, "description": "One job, or `items` of a batch"},
}


def submit_jobs(
    body: Annotated[bytes, Depends(whole_body)],
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    once: CurrentOnce,
    project: Project = None,
    dry_run: bool = False,
) -> Any:
    """Submit one job document, or up to 10,000 as `{"jobs": […]}`: all of them or none."""
    documents = Documents(body)
    if dry_run:
        rows = try_out(database, principal, documents.canonical(), project=project, batch=documents.batch)
        views_of_rows = [job_view(row, with_spec=not documents.batch) for row in rows]
        for view, row in zip(views_of_rows[:MOST_PLANNED], rows, strict=False):
            if row["state"] == JobState.QUEUED:
                view["start"] = _start(database, row)
        return answer({"items": views_of_rows} if documents.batch else views_of_rows[0], 200)
    return _submit(database, principal, once, documents, project)


class _Submission(DirectRoute):
    """Most submissions are of this kind, and what they are worth is how many a second."""

    def answer(self, plain: PlainRequest) -> Response:
        return _submit(plain.database, plain.principal, plain.once, Documents(plain.body), None)


router.add_api_route(
    "/jobs",
    submit_jobs,
    methods=["POST"],
    status_code=201,
    responses={**responses(429), **_SUBMITTED},
    openapi_extra=submission_schema(),
    route_class_override=_Submission,
)


def _submit(database: Database, principal: Principal, once: Once, documents: Documents, project: str | None) -> Response:
    rows = _submitted(database, principal, once, documents, project)
    if documents.batch:
        return answer({"items": [job_view(row, with_spec=False) for row in rows]}, 201)
    view = job_view(rows[0])
    return answer(view, 201, {"Location": f"/v1/jobs/{view['metadata']['id']}"})


def _start(database: Database, row: Mapping[str, Any]) -> views.StartView:
    from bushel.control.explain import would_start  # here, because numpy would make each start of the server longer

    made = would_start(database, compile_job(row["spec"]), row["queue_id"])
    return {"starts_now": made.starts_now, "elements_now": made.elements_now, "sentence": made.sentence}


def _submitted(database: Database, principal: Principal, once: Once, documents: Documents, project: str | None) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []

    def make() -> dict[str, Any]:
        made.extend(submit(tx, principal, documents.canonical(), project=project, batch=documents.batch))
        return {"jobs": [row["id"] for row in made], "batch": documents.batch}

    with database.transaction() as tx:
        stored = once(tx, principal.id, make)
        if made:
            return made
        found = jobs.find_many(tx, stored["jobs"])  # asked again: the same jobs, as they are now
    documents.batch = stored["batch"]
    return [found[number] for number in stored["jobs"]]


@router.get("/jobs", responses={**responses(), 200: {"model": views.Page[views.JobView]}})
def list_jobs(query: CurrentJobQuery, principal: CurrentPrincipal, database: CurrentDatabase) -> Any:
    """Jobs, newest first, without their documents. A page may be short although there is more: `next_page` says so."""
    return answer(page_of_jobs(query, principal, database, list_views))


@router.post("/jobs/cancel", responses={**responses(409), 200: {"model": views.CancelledView}})
def cancel_jobs(request: CancellationOfMany, principal: CurrentPrincipal, database: CurrentDatabase, once: CurrentOnce) -> Any:
    """Cancel everything that the filter selects, that has not ended, and that the caller may change.

    Asked again with the same key, it cancels what is left of the same jobs, and none that were submitted since.
    """
    if request.filter == JobSelection():
        raise InvalidDocument(
            [FieldProblem("/filter", "must select something: to cancel all jobs of a project, name the project", "missing")]
        )
    with database.transaction() as tx:
        asked_at = datetime.fromisoformat(once(tx, principal.id, lambda: {"asked_at": tx.now.isoformat()})["asked_at"])
        wanted = job_filter(tx, principal, request.filter, before=asked_at)
    done = cancelling.cancel_matching(database, principal, wanted, request.message)
    return answer({"cancelled": done.jobs, "refused": done.refused})


@router.get("/jobs/{job}", responses={**responses(), 200: {"model": views.JobView}})
def get_job(job: JobReference, principal: CurrentPrincipal, database: CurrentDatabase, project: Project = None) -> Any:
    """One job, with its document and all that is known of it."""
    with database.transaction() as tx:
        return answer(full_view(tx, control.find_job(tx, principal, job, project)))


@router.get("/jobs/{job}/attempts", responses={**responses(), 200: {"model": views.Page[views.AttemptView]}})
def list_attempts(
    job: JobReference,
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    project: Project = None,
    index: Annotated[int | None, Query(ge=0, le=2**31 - 1, description="Of this element of an array only.")] = None,
    limit: Limit = 100,
    page: Page = None,
) -> Any:
    """Attempts of a job, in the order of index and number."""
    after = decode_page(page, int, int) or [-1, 0]
    with database.transaction() as tx:
        found = control.find_job(tx, principal, job, project)
        rows = jobs.attempts(tx, found["id"], index=index, after=(after[0], after[1]), limit=limit + 1)
        rows, next_page = cut(rows, limit, lambda row: [row["index"], row["number"]])
        return answer({"items": attempt_views(tx, rows), "next_page": next_page})


def _change(database: Database, principal: Principal, once: Once, make: Any) -> Any:
    """`make(tx)` changes a job, once for each key, and gives its number."""
    with database.transaction() as tx:
        number = once(tx, principal.id, lambda: {"job": make(tx)})["job"]
        tx.flush()
        row = jobs.find(tx, number)
        return answer(full_view(tx, row or {}))


_CHANGED: dict[int | str, dict[str, Any]] = {**responses(409), 200: {"model": views.JobView}}


@router.post("/jobs/{job}/cancel", responses=_CHANGED)
def cancel_job(
    job: JobReference,
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    once: CurrentOnce,
    request: Cancellation | None = None,
    project: Project = None,
) -> Any:
    """Stop a job: its tasks get the signal, their grace, then are killed. Cancelling an ended job changes nothing."""
    asked = request or Cancellation()
    indices = _indices(asked.indices)

    def make(tx: Transaction) -> int:
        row = control.find_job(tx, principal, job, project)
        if indices is not None:
            control.insist_on_indices(row, indices)
        cancelling.cancel_job(tx, principal, row["id"], indices, asked.message)
        return row["id"]

    return _change(database, principal, once, make)


@router.post("/jobs/{job}/hold", responses=_CHANGED)
def hold_job(job: JobReference, principal: CurrentPrincipal, database: CurrentDatabase, once: CurrentOnce, project: Project = None) -> Any:
    """Keep what has not started from starting. What runs goes on."""
    return _change(database, principal, once, lambda tx: control.hold(tx, principal, job, project)["id"])


@router.post("/jobs/{job}/release", responses=_CHANGED)
def release_job(
    job: JobReference, principal: CurrentPrincipal, database: CurrentDatabase, once: CurrentOnce, project: Project = None
) -> Any:
    """Let a held job start."""
    return _change(database, principal, once, lambda tx: control.release(tx, principal, job, project)["id"])


@router.post("/jobs/{job}/retry", status_code=201, responses={**responses(409, 429), 201: {"model": views.JobView}})
def retry_job(
    job: JobReference,
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    once: CurrentOnce,
    request: Retrial | None = None,
    project: Project = None,
) -> Any:
    """Submit an ended job again, as a new job with `retry_of`. Of an array only the indices that failed, unless `all` is asked for."""
    only = (request or Retrial()).only
    with database.transaction() as tx:
        number = once(tx, principal.id, lambda: {"job": control.retry(tx, principal, job, only=only, project=project)["id"]})["job"]
        view = full_view(tx, jobs.find(tx, number) or {})
    return answer(view, 201, {"Location": f"/v1/jobs/{view['metadata']['id']}"})


def _indices(text: str | None) -> IndexRanges | None:
    if text is None:
        return None
    try:
        return IndexRanges.parse(text)
    except ValueError as error:
        raise InvalidDocument([FieldProblem("/indices", str(error))]) from error
