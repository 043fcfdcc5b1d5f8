"""What ran, with what it asked for: the past of an installation, for whoever wants to replay it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter

from bushel.api.authentication import CurrentPrincipal
from bushel.api.dependencies import CurrentDatabase
from bushel.api.job_requests import CurrentJobQuery, page_of_jobs
from bushel.api.job_views import answer, job_view
from bushel.api.problems import responses
from bushel.spec import views
from bushel.store import jobs
from bushel.store.database import Transaction

router = APIRouter(tags=["jobs"])

_NOT_TOLD = ("run", "env", "setup", "workdir", "secrets")
"""What a job does is nothing to a replay."""


@router.get("/history", responses={**responses(), 200: {"model": views.Page[views.JobView]}})
def list_history(query: CurrentJobQuery, principal: CurrentPrincipal, database: CurrentDatabase) -> Any:
    """Jobs as `GET /v1/jobs` selects and orders them, with that part of their documents which says what they need and where."""
    return answer(page_of_jobs(query, principal, database, _views))


def _views(tx: Transaction, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    found = jobs.find_many(tx, [row["id"] for row in rows])
    return [job_view({**row, "spec": _told(row["spec"])}) for row in (found[one["id"]] for one in rows)]


def _told(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in _NOT_TOLD}
