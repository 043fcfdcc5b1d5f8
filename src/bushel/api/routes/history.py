"""What ran, with what it asked for: the past of an installation, for whoever wants to replay it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from bushel.api.authentication import CurrentPrincipal
from bushel.api.dependencies import CurrentDatabase
from bushel.api.job_requests import CurrentJobQuery, job_filter
from bushel.api.job_views import answer, job_view
from bushel.api.paging import decode_page, encode_page
from bushel.api.problems import responses
from bushel.spec import views
from bushel.store import job_pages, jobs

router = APIRouter(tags=["jobs"])

_NOT_TOLD = ("run", "env", "setup", "workdir", "secrets")
"""What a job does is nothing to a replay."""


@router.get("/history", responses={**responses(), 200: {"model": views.Page[views.JobView]}})
def list_history(query: CurrentJobQuery, principal: CurrentPrincipal, database: CurrentDatabase) -> Any:
    """Jobs as `GET /v1/jobs` selects and orders them, with that part of their documents which says what they need and where."""
    before_id = decode_page(query.page, int)
    with database.transaction() as tx:
        wanted = job_filter(tx, principal, query)
        page = job_pages.job_page(tx, wanted, before_id=before_id[0] if before_id else None, limit=query.limit)
        found = jobs.find_many(tx, [row["id"] for row in page.rows])
    rows = [found[row["id"]] for row in page.rows]
    items = [job_view({**row, "spec": {key: value for key, value in row["spec"].items() if key not in _NOT_TOLD}}) for row in rows]
    next_page = None if page.next_before is None else encode_page([page.next_before])
    return answer({"items": items, "next_page": next_page, "estimated_total": page.estimated_total})
