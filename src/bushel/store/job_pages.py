"""Pages of jobs, newest first, by any mix of filters, at a bounded cost whatever the data look like.

Guarantees: a page costs what it shows, not what the database holds. Each filter that has an index in the order of the pages reads
just the rows of the page, and where one filter of several leads to few rows they are all looked at. What is left is looked for in
windows of job numbers, each read once; after `SEARCH_SECONDS` the page ends early, with the position to go on from. No plan
depends on the planner's guess of how common a label is. Totals up to `MOST_COUNTED` are counted, larger ones estimated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bushel.store.database import Transaction
from bushel.store.jobs import COLUMNS, JOINS

SEARCH_SECONDS = 0.1
MOST_COUNTED, COUNT_SECONDS = 1_000, 0.03
_FIRST_WINDOW, _WINDOW_GROWTH, _QUICK_SECONDS = 4_000, 4, 0.01
_FEW_ROWS = 2_000
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
    """`next_before` is where the next page begins; None at the end. `estimated_total` only for a first page: exact up to `MOST_COUNTED`."""

    rows: list[dict[str, Any]]
    next_before: int | None
    estimated_total: int | None = None


@dataclass(frozen=True, slots=True)
class _Way:
    """A way in by an index that is in the order of the pages: for each row of `keys`, rows of `table` for which `where` holds.

    It answers the checks in `covers`. `narrow`: it may lead to few rows, so that it is worth while to look how many. One that is not
    `ordered` costs what it leads to in all, so it is only taken when that is little.
    """

    where: str
    covers: frozenset[str]
    keys: str = ""
    table: str = "jobs j"
    id: str = "j.id"
    narrow: bool = True
    ordered: bool = True

    def ids(self, checks: dict[str, str]) -> str:
        """Ids in [low, high), newest first, at most `limit`, of rows that pass the checks that this way does not answer.

        Those checks are made of the rows that the way leads to, at most `most`, so that they cannot tempt the planner to another way.
        """
        rest = [check for name, check in checks.items() if name not in self.covers]
        if not self.ordered or (rest and self.where != "true"):
            where = " and ".join((f"j.id = any(array({self._rows()}))", "j.id >= %(low)s and j.id < %(high)s", *rest))
            return f"select j.id from jobs j where {where} order by j.id desc limit %(limit)s"
        where = " and ".join((self.where, self._range, *rest))
        rows = f"select {self.id} as id from {self.table} where {where} order by {self.id} desc limit %(limit)s"
        return (
            f"select part.id from {self.keys} cross join lateral ({rows}) part order by part.id desc limit %(limit)s" if self.keys else rows
        )

    def count(self) -> str:
        """How many rows it leads to, at most `most`."""
        return f"select count(*) as count from ({self._rows()}) found"

    def _rows(self) -> str:
        where = f"{self.where} and {self._range}" if self.ordered else self.where
        rows = f"select {self.id} as id from {self.table} where {where} limit %(most)s"
        return f"select part.id from {self.keys} cross join lateral ({rows}) part limit %(most)s" if self.keys else rows

    @property
    def _range(self) -> str:
        return f"{self.id} >= %(low)s and {self.id} < %(high)s"


def job_page(tx: Transaction, wanted: JobFilter, *, before_id: int | None, limit: int) -> JobPage:
    """Up to `limit` jobs with numbers below `before_id`."""
    if wanted.project_ids == ():
        return JobPage([], None, 0)
    high = _newest(tx) + 1 if before_id is None else before_id
    if wanted.before is not None:
        high = min(high, _first_since(tx, wanted.before, _CLOCK_SLACK))
    low = 1 if wanted.since is None else _first_since(tx, wanted.since, -_CLOCK_SLACK)
    ids, next_before = _find(tx, wanted, low, high, limit, SEARCH_SECONDS)
    rows = tx.all(f"select {COLUMNS} from jobs j {JOINS} where j.id = any(%s) order by j.id desc", (ids,)) if ids else []
    total = None
    if before_id is None:
        total = _total(tx, wanted, low, len(rows), next_before)
    return JobPage(rows, next_before, total)


def _total(tx: Transaction, wanted: JobFilter, low: int, shown: int, next_before: int | None) -> int | None:
    """Of `shown` jobs and those behind them; None where it is neither counted quickly nor clearly large."""
    if next_before is None:
        return shown
    counted = shown
    if shown < MOST_COUNTED:
        more, rest = _find(tx, wanted, low, next_before, MOST_COUNTED - shown, COUNT_SECONDS)
        counted += len(more)
        if rest is None:
            return counted
    estimate = _estimate(tx, wanted)
    if counted >= MOST_COUNTED:
        return max(estimate, counted + 1)
    return estimate if estimate > MOST_COUNTED else None


def _find(tx: Transaction, wanted: JobFilter, low: int, high: int, limit: int, seconds: float) -> tuple[list[int], int | None]:
    """Ids in [low, high), and where to go on."""
    checks, parameters = _checks(wanted)
    way, complete = _choose(tx, _ways(wanted), checks, {**parameters, "low": low, "high": high, "most": _FEW_ROWS})
    source = way.ids(checks)

    def ids(bottom: int, top: int, most: int) -> list[int]:
        bounds = {"low": bottom, "high": top, "limit": most, "most": _FEW_ROWS if complete else top - bottom}
        return [row["id"] for row in tx.all(source, {**parameters, **bounds})]

    if complete:
        some = ids(low, high, limit + 1)
        return (some[:limit], some[limit - 1]) if len(some) > limit else (some, None)
    return _search(ids, low, high, limit, seconds)


def _search(ids: Callable[[int, int, int], list[int]], low: int, high: int, limit: int, seconds: float) -> tuple[list[int], int | None]:
    """Window by window, until the page is full or the time is up."""
    found: list[int] = []
    window = _FIRST_WINDOW
    deadline = time.monotonic() + seconds
    while high > low:
        began = time.monotonic()
        bottom = max(low, high - window)
        found += ids(bottom, high, limit - len(found))
        if len(found) == limit:
            return found, found[-1] if found[-1] > low else None
        high = bottom
        now = time.monotonic()
        if now > deadline:
            return found, high if high > low else None
        if now - began < _QUICK_SECONDS:
            window *= _WINDOW_GROWTH
    return found, None


def _choose(tx: Transaction, ways: Sequence[_Way], checks: dict[str, str], parameters: dict[str, Any]) -> tuple[_Way, bool]:
    """The way to take, and whether all that it leads to may be read: it answers everything, or leads to few rows."""
    for way in ways:
        if way.ordered and checks.keys() <= way.covers:
            return way, True
    for way in ways:
        if way.narrow and tx.one(way.count(), parameters)["count"] < _FEW_ROWS:
            return way, True
    return next(way for way in ways if way.ordered), False


def _ways(wanted: JobFilter) -> list[_Way]:
    """What leads to the fewest rows, most likely, comes first."""
    ways: list[_Way] = []
    merged = wanted.project_ids is not None and len(wanted.project_ids) <= _MOST_PROJECTS_MERGED
    by_project = "unnest(%(projects)s::bigint[]) key (project_id)"
    if merged:
        for number in range(len(wanted.labels)):
            where = f"l.project_id = key.project_id and l.label = %(label{number})s"
            ways.append(_Way(where, frozenset({"project", f"label{number}"}), by_project, "job_labels l", "l.job_id"))
        if wanted.name:
            prefix = wanted.name.endswith("*")
            covers = frozenset({"project", "name"})
            ways.append(_Way(f"j.project_id = key.project_id and {_named(wanted.name)}", covers, by_project, ordered=not prefix))
    if wanted.submitter_id is not None:
        ways.append(_Way("j.submitter_id = %(submitter)s", frozenset({"submitter"})))
    if wanted.queue_id is not None:
        ways.append(_Way("j.queue_id = %(queue)s", frozenset({"queue"})))
    if merged and wanted.states:
        keys = f"{by_project} cross join unnest(%(states)s::text[]) state (name)"
        ways.append(_Way("j.project_id = key.project_id and j.state = state.name", frozenset({"project", "state"}), keys))
    if merged:
        ways.append(_Way("j.project_id = key.project_id", frozenset({"project"}), by_project, narrow=False))
    return [*ways, _Way("true", frozenset(), narrow=False)]


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
        checks["name"] = _named(wanted.name)
        parameters["name"] = wanted.name.removesuffix("*")
        parameters["name_end"] = parameters["name"] + "\x7f"  # behind every name with that beginning: names are printable ASCII
    for number, label in enumerate(wanted.labels):
        parameters[f"label{number}"] = label
        checks[f"label{number}"] = (
            f"j.labels ->> split_part(%(label{number})s, '=', 1) = substr(%(label{number})s, strpos(%(label{number})s, '=') + 1)"
        )
    if wanted.since is not None:
        checks["since"], parameters["since"] = "j.submitted_at >= %(since)s", wanted.since
    if wanted.before is not None:
        checks["before"], parameters["before"] = "j.submitted_at < %(before)s", wanted.before
    return checks, parameters


def _named(name: str) -> str:
    """By the operators of the index, so that it serves whatever the name is."""
    return "j.name ~>=~ %(name)s and j.name ~<~ %(name_end)s" if name.endswith("*") else "j.name = %(name)s"


def _newest(tx: Transaction) -> int:
    row = tx.first("select id from jobs order by id desc limit 1")
    return row["id"] if row else 0


_FIRST_SINCE = """
    with recursive search (low, high) as (
        select 1::bigint, coalesce(max(id), 0) + 1 from jobs
        union all
        select case when later then low else probe.id + 1 end, case when later then middle else high end
        from search
        cross join lateral (select (low + high) / 2 as middle) half
        left join lateral (
            select id, submitted_at from jobs where id >= middle and id < high order by id limit 1
        ) probe on true
        cross join lateral (select coalesce(probe.submitted_at >= %(instant)s, true) as later) found
        where low < high
    )
    select low from search where low >= high
"""


def _first_since(tx: Transaction, instant: datetime, slack: timedelta) -> int:
    """A number below which no job was submitted at `instant + slack` or later: numbers and times grow together, nearly."""
    with suppress(OverflowError):
        instant += slack
    return tx.one(_FIRST_SINCE, {"instant": instant})["low"]


def _estimate(tx: Transaction, wanted: JobFilter) -> int:
    """What the planner's statistics say, without reading any job."""
    checks, parameters = _checks(wanted)
    where = " and ".join(("true", *checks.values()))
    plan = tx.one(f"explain (format json) select 1 from jobs j where {where}", parameters)["QUERY PLAN"]
    return round(plan[0]["Plan"]["Plan Rows"])


def label_texts(labels: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Labels as `JobFilter` wants them, the rarest kind (the longest text) first."""
    return tuple(sorted((f"{key}={value}" for key, value in labels), key=len, reverse=True))
