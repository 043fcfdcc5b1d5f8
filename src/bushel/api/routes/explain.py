"""Why a job does not run yet."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from bushel.api.authentication import CurrentPrincipal
from bushel.api.dependencies import CurrentDatabase
from bushel.api.job_views import answer
from bushel.api.problems import responses
from bushel.api.routes.jobs import JobReference, Project
from bushel.spec.explanation import ExplanationView

router = APIRouter(tags=["jobs"])


@router.get("/jobs/{job}/explain", responses={**responses(), 200: {"model": ExplanationView}})
def explain_job(job: JobReference, principal: CurrentPrincipal, database: CurrentDatabase, project: Project = None) -> Any:
    """What keeps the job waiting, counted, and which changes would start it now. Each was planned before it is said."""
    from bushel.control.explain import explain  # here, because numpy would make each start of the server longer

    return answer(explain(database, principal, job, project))
