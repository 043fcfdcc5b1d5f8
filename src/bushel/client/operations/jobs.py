"""Jobs: submit, look, change. A job is named by its id, or by its name within a project."""

from __future__ import annotations

from bushel.client.http1 import quote
from bushel.client.operation import Operation, with_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bushel.spec.estimate import EstimateView
    from bushel.spec.explanation import ExplanationView
    from bushel.spec.views import AttemptView, CancelledView, JobView, Page, SubmittedView


def submit(
    document: Mapping[str, object], *, project: str | None = None, dry_run: bool = False, idempotency_key: str | None = None
) -> Operation[JobView]:
    return Operation("POST", "/v1/jobs", parameters=_where(project, dry_run), document=document, headers=with_key(idempotency_key))


def submit_many(
    documents: Sequence[Mapping[str, object]], *, project: str | None = None, dry_run: bool = False, idempotency_key: str | None = None
) -> Operation[SubmittedView]:
    """All or nothing, at most 10,000."""
    return Operation(
        "POST",
        "/v1/jobs",
        parameters=_where(project, dry_run),
        document={"jobs": list(documents)},
        headers=with_key(idempotency_key),
        timeout_seconds=120.0,
    )


def list_page(
    *,
    project: str | None = None,
    states: Sequence[str] = (),
    queue: str | None = None,
    submitter: str | None = None,
    name: str | None = None,
    labels: Mapping[str, str] | None = None,
    since: str | None = None,
    before: str | None = None,
    limit: int | None = None,
    page: str | None = None,
) -> Operation[Page[JobView]]:
    """One page, newest first. `since` and `before` bound the time of submission (RFC 3339)."""
    parameters = [
        ("project", project),
        *(("state", state) for state in states),
        ("queue", queue),
        ("submitter", submitter),
        ("name", name),
        *(("label", f"{key}={value}") for key, value in (labels or {}).items()),
        ("since", since),
        ("before", before),
        ("limit", limit),
        ("page", page),
    ]
    return Operation("GET", "/v1/jobs", parameters=parameters)


def history_page(
    *, project: str | None = None, since: str | None = None, before: str | None = None, limit: int | None = None, page: str | None = None
) -> Operation[Page[JobView]]:
    """As `list_page`, with that part of the documents which says what the jobs need: for whoever wants to replay them."""
    parameters = [("project", project), ("since", since), ("before", before), ("limit", limit), ("page", page)]
    return Operation("GET", "/v1/history", parameters=parameters, timeout_seconds=60.0)


def get(job: str, *, project: str | None = None) -> Operation[JobView]:
    return Operation("GET", _path(job), parameters=[("project", project)])


def attempts_page(
    job: str, *, index: int | None = None, limit: int | None = None, page: str | None = None, project: str | None = None
) -> Operation[Page[AttemptView]]:
    parameters = [("index", index), ("limit", limit), ("page", page), ("project", project)]
    return Operation("GET", _path(job, "attempts"), parameters=parameters)


def explain(job: str, *, project: str | None = None) -> Operation[ExplanationView]:
    """Why it does not run yet, counted."""
    return Operation("GET", _path(job, "explain"), parameters=[("project", project)])


def estimate(job: str, *, project: str | None = None) -> Operation[EstimateView]:
    """When it is likely to start, with an interval that holds four starts of five."""
    return Operation("GET", _path(job, "estimate"), parameters=[("project", project)], timeout_seconds=60.0)


def estimate_document(document: Mapping[str, object], *, project: str | None = None) -> Operation[EstimateView]:
    """As `estimate`, of a job that is not submitted."""
    return Operation("POST", "/v1/estimates", parameters=[("project", project)], document=document, timeout_seconds=60.0)


def cancel(
    job: str, *, indices: str | None = None, message: str | None = None, project: str | None = None, idempotency_key: str | None = None
) -> Operation[JobView]:
    """`indices` such as `0-9,12` for part of an array. Cancelling what has ended changes nothing."""
    return _change(job, "cancel", {"indices": indices, "message": message}, project, idempotency_key)


def cancel_many(
    filters: Mapping[str, object], *, message: str | None = None, idempotency_key: str | None = None
) -> Operation[CancelledView]:
    """Everything that the filter selects and the caller may cancel."""
    document = {"filter": dict(filters), **({"message": message} if message else {})}
    return Operation("POST", "/v1/jobs/cancel", document=document, headers=with_key(idempotency_key))


def hold(job: str, *, project: str | None = None, idempotency_key: str | None = None) -> Operation[JobView]:
    return _change(job, "hold", {}, project, idempotency_key)


def release(job: str, *, project: str | None = None, idempotency_key: str | None = None) -> Operation[JobView]:
    return _change(job, "release", {}, project, idempotency_key)


def retry(job: str, *, only: str = "failed", project: str | None = None, idempotency_key: str | None = None) -> Operation[JobView]:
    """A new job with `retry_of`; of an array its failed indices, or `all`."""
    return _change(job, "retry", {"only": only}, project, idempotency_key)


def _change(job: str, verb: str, document: Mapping[str, object], project: str | None, key: str | None) -> Operation[JobView]:
    given = {name: value for name, value in document.items() if value is not None}
    return Operation("POST", _path(job, verb), parameters=[("project", project)], document=given, headers=with_key(key))


def _path(job: str, *rest: str) -> str:
    if not job:
        raise ValueError("a job is named by its id or its name, not by nothing")
    return "/".join(("/v1/jobs", quote(job), *rest))


def _where(project: str | None, dry_run: bool) -> list[tuple[str, object]]:
    return [("project", project), ("dry_run", dry_run or None)]
