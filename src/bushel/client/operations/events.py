"""Events: what happened, in the order in which it became true."""

from __future__ import annotations

from bushel.client.http1 import quote
from bushel.client.operation import Operation
from bushel.client.streams import Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bushel.spec.platform_views import EventListView


def events_page(
    *,
    scope: str | None = None,
    job: str | None = None,
    kinds: Sequence[str] = (),
    after: str | None = None,
    newest_first: bool = False,
    limit: int | None = None,
    page: str | None = None,
) -> Operation[EventListView]:
    """`kinds` are whole kinds (`job.failed`) or families (`job.`, with the dot)."""
    parameters = [*_filters(scope, job, kinds), ("after", after), ("newest_first", newest_first or None), ("limit", limit), ("page", page)]
    return Operation("GET", "/v1/events", parameters=parameters)


def job_events_page(job: str, *, newest_first: bool = False, limit: int | None = None, page: str | None = None) -> Operation[EventListView]:
    parameters = [("newest_first", newest_first or None), ("limit", limit), ("page", page)]
    return Operation("GET", f"/v1/jobs/{quote(job)}/events", parameters=parameters)


def watch(*, scope: str | None = None, job: str | None = None, kinds: Sequence[str] = (), after: str | None = None) -> Stream:
    """New events from now on, or everything behind `after`."""
    return Stream("/v1/events/watch", _filters(scope, job, kinds), last_event_id=after)


def _filters(scope: str | None, job: str | None, kinds: Sequence[str]) -> list[tuple[str, object]]:
    return [("scope", scope), ("job", job), *(("kind", kind) for kind in kinds)]
