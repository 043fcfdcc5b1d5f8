"""What requests about jobs say: documents to submit, and which jobs to list or cancel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic_core import from_json

from bushel.api.paging import Limit, Page, decode_page, encode_page
from bushel.domain.errors import BushelError, FieldProblem, InvalidDocument, NotFound, TooLarge
from bushel.domain.principal import Principal
from bushel.spec.canonical import canonical, canonical_batch
from bushel.spec.fields import ScopePath
from bushel.spec.job import BATCH_LIMIT
from bushel.spec.schema import job_schema
from bushel.spec.views import JobStateName
from bushel.store import jobs
from bushel.store.database import Database, Transaction
from bushel.store.job_pages import JobFilter, job_page, label_texts

Text = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
LabelText = Annotated[str, Field(min_length=2, max_length=400, pattern=r"^[^\x00=]+=[^\x00]*$")]


async def whole_body(request: Request) -> bytes:
    """The body as it came; its size was limited before."""
    return await request.body()


class Documents:
    """The documents of a submission, read before any transaction. What is wrong with them is told when they are asked for."""

    def __init__(self, body: bytes) -> None:
        self.batch = False
        self._documents: list[dict[str, Any]] = []
        self._error: BushelError | None = None
        try:
            self._documents = self._read(body)
        except BushelError as error:
            self._error = error

    def canonical(self) -> list[dict[str, Any]]:
        """
        Raises:
            InvalidDocument: one of them breaks a rule.
            TooLarge: there are too many.
        """
        if self._error is not None:
            raise self._error
        return self._documents

    def _read(self, body: bytes) -> list[dict[str, Any]]:
        try:
            document = from_json(body, allow_inf_nan=False)
        except ValueError as error:
            raise InvalidDocument([FieldProblem("", f"not JSON: {error}", "json")]) from error
        if not (isinstance(document, dict) and "jobs" in document):
            return [canonical(document)]
        self.batch = True
        documents = document["jobs"]
        others = [name for name in document if name != "jobs"]
        if others:
            raise InvalidDocument([FieldProblem(f"/{others[0]}", "unknown field beside `jobs`", "unknown_field")])
        if not isinstance(documents, list) or not documents:
            raise InvalidDocument([FieldProblem("/jobs", "must be a list of job documents, and not empty")])
        if len(documents) > BATCH_LIMIT:
            raise TooLarge(
                f"{len(documents)} jobs in one request; the most is {BATCH_LIMIT}",
                suggestion="send several requests; for many alike, one job with an `array`",
            )
        return canonical_batch(documents)


def submission_schema() -> dict[str, Any]:
    """For the description of the API."""
    job = {key: value for key, value in job_schema().items() if key != "$schema"}
    jobs_schema = {"type": "array", "items": {"type": "object"}, "minItems": 1, "maxItems": BATCH_LIMIT}
    batch = {"type": "object", "required": ["jobs"], "additionalProperties": False, "properties": {"jobs": jobs_schema}}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": {"anyOf": [job, batch]}}}}}


class _Selection(BaseModel):
    model_config = ConfigDict(extra="forbid")

    project: ScopePath | None = Field(default=None, description="A project, or a scope: all projects below it.")
    state: list[JobStateName] = Field(default=[], max_length=8, description="In one of these states.")
    queue: Text | None = Field(default=None)
    submitter: Text | None = Field(default=None, description="A name; `me` is whoever asks.")
    name: Text | None = Field(default=None, description="The whole name, or its beginning and `*`.")
    since: AwareDatetime | None = Field(default=None, description="Submitted at this time or later.")
    before: AwareDatetime | None = Field(default=None, description="Submitted before this time.")


class JobQuery(_Selection):
    """Which jobs to list."""

    label: list[LabelText] = Field(default=[], max_length=16, description="Has all of these labels: `key=value`.")
    limit: Limit = 100
    page: Page = None


class JobSelection(_Selection):
    """Which jobs to cancel. At least one field."""

    labels: dict[str, Annotated[str, Field(max_length=255)]] = Field(default={}, max_length=16, description="Has all of these labels.")


CurrentJobQuery = Annotated[JobQuery, Query()]


def job_filter(tx: Transaction, principal: Principal, wanted: JobQuery | JobSelection, *, before: datetime | None = None) -> JobFilter:
    """What `wanted` selects of the jobs that the principal may read. Names that nobody has select nothing.

    Raises:
        NotFound: there is no such project, or the principal may not see it.
    """
    projects = jobs.projects_below(tx, principal.paths("job:read"), wanted.project)
    if wanted.project is not None and not projects:
        raise NotFound(f"there is no project {wanted.project}, or you may not see it")
    everything = wanted.project is None and len(projects) == jobs.project_count(tx)
    labels = [tuple(label.split("=", 1)) for label in wanted.label] if isinstance(wanted, JobQuery) else list(wanted.labels.items())
    return JobFilter(
        project_ids=None if everything and not labels and not wanted.name and not wanted.state else tuple(row["id"] for row in projects),
        states=tuple(wanted.state),
        queue_id=None if wanted.queue is None else jobs.queue_number(tx, wanted.queue),
        submitter_id=_submitter(tx, principal, wanted.submitter),
        name=wanted.name,
        labels=label_texts([(key, value) for key, value in labels]),
        since=wanted.since,
        before=min(filter(None, (wanted.before, before)), default=None),
    )


def _submitter(tx: Transaction, principal: Principal, name: str | None) -> int | None:
    if name is None:
        return None
    return principal.id if name == "me" else jobs.principal_number(tx, name)


def page_of_jobs(
    query: JobQuery, principal: Principal, database: Database, views: Callable[[Transaction, Sequence[Mapping[str, Any]]], list[Any]]
) -> dict[str, Any]:
    """A page of what `query` selects, newest first, each row as `views` shows it. Raises as `job_filter` does."""
    before_id = decode_page(query.page, int)
    with database.transaction() as tx:
        wanted = job_filter(tx, principal, query)
        page = job_page(tx, wanted, before_id=before_id[0] if before_id else None, limit=query.limit)
        items = views(tx, page.rows)
    next_page = None if page.next_before is None else encode_page([page.next_before])
    return {"items": items, "next_page": next_page, "estimated_total": page.estimated_total}
