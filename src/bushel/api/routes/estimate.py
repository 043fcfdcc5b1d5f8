"""When a job is likely to start."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from bushel.api.authentication import CurrentPrincipal
from bushel.api.dependencies import CurrentDatabase
from bushel.api.job_requests import Documents, submission_schema, whole_body
from bushel.api.job_views import answer
from bushel.api.problems import responses
from bushel.api.routes.jobs import JobReference, Project
from bushel.domain.errors import FieldProblem, InvalidDocument
from bushel.spec.estimate import EstimateView

router = APIRouter(tags=["jobs"])

_ANSWERS = {**responses(), 200: {"model": EstimateView}}


@router.get("/jobs/{job}/estimate", responses=_ANSWERS)
def estimate_job(job: JobReference, principal: CurrentPrincipal, database: CurrentDatabase, project: Project = None) -> Any:
    """When the job is likely to start, with an interval that holds four starts of five."""
    from bushel.control.estimate import estimate  # here, because numpy would make each start of the server longer

    return answer(estimate(database, principal, job, project))


@router.post("/estimates", responses=_ANSWERS, openapi_extra=submission_schema())
def estimate_of_document(
    body: Annotated[bytes, Depends(whole_body)], principal: CurrentPrincipal, database: CurrentDatabase, project: Project = None
) -> Any:
    """When a job with this document would be likely to start if it were submitted now. Nothing is submitted; whoever may not submit it
    may not ask."""
    from bushel.control.estimate import estimate_document

    documents = Documents(body)
    canonical = documents.canonical()
    if documents.batch:
        raise InvalidDocument([FieldProblem("/jobs", "an estimate is of one document: send the document itself, not a list")])
    return answer(estimate_document(database, principal, canonical[0], project))
