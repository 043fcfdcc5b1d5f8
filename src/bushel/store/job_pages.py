"""Pages of jobs, newest first, by any mix of filters, at a bounded cost whatever the data look like.

Guarantees: a page costs what it shows, not what the database holds. Each filter that has an index in the order of the pages reads
just the rows of the page. What has none is looked for in windows of job numbers, each read once, and after `SEARCH_SECONDS` the
page ends early with the position to go on from. No plan depends on the planner's guess of how common a label is.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bushel.store.database import Transaction
from bushel.store.jobs import COLUMNS, JOINS

SEARCH_SECONDS = 0.15
_FIRST_WINDOW, _WINDOW_GROWTH, _QUICK_SECONDS = 4_000, 4, 0.015
_MOST_PROJECTS_MERGED = 200
_LARGEST_ID = 2**62
_CLOCK_SLACK = timedelta(minutes=2)  # transactions that began earlier may draw later numbers


@dataclass(frozen=True, slots=True)
class JobFilter:
    """What to list. `project_ids` None means all there are; a `name` that ends in `*` is a prefix."""

    project_ids: tuple[int, ...] | None = None
    states: tuple[str, ...] = ()
    queue_id: int | None = None
    submitter_id: int | None = None
    name: str | None = None
    labels: tuple[str, ...] = ()  # key=value
    since: datetime | None = None
    before: datetime | None = None


@dataclass(frozen=True, slots=True)
class JobPage:
    """`next_before` is where the next page begins; None at the end. `estimated_total` only for a first page."""

    rows: list[dict[str, Any]]
    next_before: int | None
    estimated_total: int | None = None


@dataclass(frozen=True, slots=True)
class _Search:
    """`source` yields ids, newest first, for the parameters `low`, `high` and `limit`; `complete` when every row it yields is wanted."""

    source: str
    parameters: dict[str, Any]
    complete: bool


def job_page(tx: Transaction, wanted: JobFilter, *, before_id: int | None, limit: int) -> JobPage:
    """Up to `limit` jobs with numbers below `before_id`."""
    if wanted.project_ids == ():
        return JobPage([], None, 0)
    search = _search(wanted)
    high = _newest(tx) + 1 if before_id is None else before_id
    if wanted.before is not None:
        high = min(high, _first_after(tx, wanted.before + _CLOCK_SLACK))
    low = 1 if wanted.since is None else _first_after(tx, wanted.since - _CLOCK_SLACK)
    ids, next_before = _find(tx, search, low, high, limit)
    rows = tx.all(f"select {COLUMNS} from jobs j {JOINS} where j.id = any(%s) order by j.id desc", (ids,)) if ids else []
    total = None
    if before_id is None:
        total = len(rows) if next_before is None else _estimate(tx, wanted)
    return JobPage(rows, next_before, total)


def _find(tx: Transaction, search: _Search, low: int, high: int, limit: int) -> tuple[list[int], int | None]:
    """Ids in [low, high), and where to go on."""
    if search.complete:
        ids = _ids(tx, search, low, high, limit + 1)
        return (ids[:limit], ids[limit - 1]) if len(ids) > limit else (ids, None)
    found: list[int] = []
    window = _FIRST_WINDOW
    deadline = time.monotonic() + SEARCH_SECONDS
    while high > low:
        began = time.monotonic()
        bottom = max(low, high - window)
        found += _ids(tx, search, bottom, high, limit - len(found))
        if len(found) == limit:
            return found, found[-1] if found[-1] > low else None
        high = bottom
        now = time.monotonic()
        if now > deadline:
            return found, high if high > low else None
        if now - began < _QUICK_SECONDS:
            window *= _WINDOW_GROWTH
    return found, None


def _ids(tx: Transaction, search: _Search, low: int, high: int, limit: int) -> list[int]:
    return [row["id"] for row in tx.all(search.source, {**search.parameters, "low": low, "high": high, "limit": limit})]


def _search(wanted: JobFilter) -> _Search:
    """The narrowest way in that has an index in the order of the pages; the rest is checked row by row."""
    checks, parameters = _checks(wanted)
    merged = wanted.project_ids is not None and len(wanted.project_ids) <= _MOST_PROJECTS_MERGED
    if merged and wanted.labels:
        del checks["project"]
        first, *more = wanted.labels
        parameters["label"] = first
        checks.pop("label")
        if more:
            checks["label"] = _label_check(len(more), first=1)
        rest = _and(checks)
        join = f"join jobs j on j.id = l.job_id {rest}" if rest else ""
        inner = f"""select l.job_id as id from job_labels l {join} where l.project_id = key.project_id and l.label = %(label)s
                    and l.job_id >= %(low)s and l.job_id < %(high)s order by l.job_id desc limit %(limit)s"""
        return _Search(_merge("unnest(%(projects)s::bigint[]) key (project_id)", inner), parameters, not rest)
    if wanted.submitter_id is not None:
        del checks["submitter"]
        return _Search(_scan("j.submitter_id = %(submitter)s", checks), parameters, not checks)
    if wanted.queue_id is not None and not (merged and (wanted.states or wanted.name)):
        del checks["queue"]
        return _Search(_scan("j.queue_id = %(queue)s", checks), parameters, not checks)
    if merged:
        return _search_by_project(wanted, checks, parameters)
    return _Search(_scan("true", checks), parameters, not checks)


def _search_by_project(wanted: JobFilter, checks: dict[str, str], parameters: dict[str, Any]) -> _Search:
    del checks["project"]
    keys, where = "unnest(%(projects)s::bigint[]) key (project_id)", "j.project_id = key.project_id"
    if wanted.name and not wanted.name.endswith("*"):
        del checks["name"]
        where += " and j.name = %(name)s"
    elif wanted.states:
        del checks["state"]
        keys += " cross join unnest(%(states)s::text[]) state (name)"
        where += " and j.state = state.name"
    return _Search(_merge(keys, _scan(where, checks)), parameters, not checks)


def _merge(keys: str, inner: str) -> str:
    return f"select part.id from {keys} cross join lateral ({inner}) part order by part.id desc limit %(limit)s"


def _scan(where: str, checks: dict[str, str]) -> str:
    return f"""select j.id from jobs j where {where} and j.id >= %(low)s and j.id < %(high)s {_and(checks)}
               order by j.id desc limit %(limit)s"""


def _and(checks: dict[str, str]) -> str:
    return "".join(f" and {check}" for check in checks.values())


def _checks(wanted: JobFilter) -> tuple[dict[str, str], dict[str, Any]]:
    """Each filter as a condition on `j`."""
    checks: dict[str, str] = {}
    parameters: dict[str, Any] = {}
    if wanted.project_ids is not None:
        checks["project"], parameters["projects"] = "j.project_id = any(%(projects)s)", list(wanted.project_ids)
    if wanted.states:
        checks["state"], parameters["states"] = "j.state = any(%(states)s)", list(wanted.states)
    if wanted.queue_id is not None:
        checks["queue"], parameters["queue"] = "j.queue_id = %(queue)s", wanted.queue_id
    if wanted.submitter_id is not None:
        checks["submitter"], parameters["submitter"] = "j.submitter_id = %(submitter)s", wanted.submitter_id
    if wanted.name:
        if wanted.name.endswith("*"):
            checks["name"], parameters["name"] = "starts_with(j.name, %(name)s)", wanted.name[:-1]
        else:
            checks["name"], parameters["name"] = "j.name = %(name)s", wanted.name
    if wanted.labels:
        checks["label"] = _label_check(len(wanted.labels))
        parameters |= {f"label{number}": label for number, label in enumerate(wanted.labels)}
    if wanted.since is not None:
        checks["since"], parameters["since"] = "j.submitted_at >= %(since)s", wanted.since
    if wanted.before is not None:
        checks["before"], parameters["before"] = "j.submitted_at < %(before)s", wanted.before
    return checks, parameters


def _label_check(count: int, first: int = 0) -> str:
    """All of these labels are on the job, read from its own row."""
    return " and ".join(
        f"j.labels ->> split_part(%(label{number})s, '=', 1) = substr(%(label{number})s, strpos(%(label{number})s, '=') + 1)"
        for number in range(first, first + count)
    )


def _newest(tx: Transaction) -> int:
    row = tx.first("select id from jobs order by id desc limit 1")
    return row["id"] if row else 0


def _first_after(tx: Transaction, instant: datetime) -> int:
    """A number below which no job was submitted at `instant` or later, nearly: found by halving, as numbers and times grow together."""
    low, high = 1, _newest(tx) + 1
    while low < high:
        middle = (low + high) // 2
        row = tx.first("select id, submitted_at from jobs where id >= %s and id < %s order by id limit 1", (middle, high))
        if row is None or row["submitted_at"] >= instant:
            high = middle
        else:
            low = row["id"] + 1
    return low


def _estimate(tx: Transaction, wanted: JobFilter) -> int | None:
    """What the planner's statistics say, without reading any job."""
    checks, parameters = _checks(wanted)
    plan = tx.one(f"explain (format json) select 1 from jobs j where true {_and(checks)}", parameters)["QUERY PLAN"]
    return round(plan[0]["Plan"]["Plan Rows"])


def label_texts(labels: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Labels as `JobFilter` wants them, the rarest kind (the longest text) first."""
    return tuple(sorted((f"{key}={value}" for key, value in labels), key=len, reverse=True))
