"""Rows of jobs: written many at a time, found one at a time. Pages of them are in `store.job_pages`.

Guarantees: any number of jobs is written by one statement; labels are kept a second time in `job_labels`, by the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from bushel.domain.ids import decode_job_id
from bushel.store.database import Transaction

COLUMNS = """
    j.id, j.project_id, j.queue_id, j.submitter_id, j.retry_of, j.name, j.labels, j.state, j.reason, j.message, j.priority,
    j.user_hold, j.unmet, j.element_count, j.pending_count, j.delayed_count, j.starting_count, j.running_count, j.stopping_count,
    j.succeeded_count, j.failed_count, j.cancelled_count, j.gated_count, j.exit_code, j.failure_class, j.progress, j.version,
    j.submitted_at, j.started_at, j.ended_at, j.spec ? 'array' as is_array,
    s.path as project, q.name as queue, p.name as submitter
"""
"""What a view of a job is made of, but for its document."""

JOINS = "join scopes s on s.id = j.project_id join queues q on q.id = j.queue_id join principals p on p.id = j.submitter_id"

_FIND = f"select {COLUMNS}, j.spec, j.pending::text as pending from jobs j {JOINS} where j.id = %s"

_FIND_MANY = f"select {COLUMNS}, j.spec from jobs j {JOINS} where j.id = any(%s) order by j.id"

_NEWEST_NAMED = """
    select max(newest.id) as id from unnest(%s::bigint[]) project (id)
    cross join lateral (select j.id from jobs j where j.project_id = project.id and j.name = %s order by j.id desc limit 1) newest
"""

_INSERT = """
    insert into jobs (
        project_id, queue_id, submitter_id, retry_of, name, labels, spec, state, reason, message, priority, user_hold, unmet,
        element_count, pending, pending_count, cancelled_count, ended_at
    )
    select
        n.project_id, n.queue_id, %s, n.retry_of, n.name, n.labels, n.spec, n.state, n.reason, n.message, n.priority, n.user_hold, n.unmet,
        n.element_count, n.pending::int4multirange, case when n.ended then 0 else n.element_count end,
        case when n.ended then n.element_count else 0 end, case when n.ended then now() end
    from rows from (
        jsonb_to_recordset(%s) as (
            project_id bigint, queue_id bigint, retry_of bigint, name text, labels jsonb, spec jsonb, state text, reason text,
            message text, priority smallint, user_hold boolean, unmet int, element_count int, pending text, ended boolean
        )
    ) with ordinality n
    order by n.ordinality
    returning id
"""  # one JSON text is much cheaper to write and to read than fifteen arrays of texts that contain JSON

_INSERT_LABELS = """
    insert into job_labels (project_id, label, job_id)
    select * from unnest(%s::bigint[], %s::text[], %s::bigint[])
"""

_INSERT_DEPENDENCIES = """
    insert into dependencies (job_id, on_job_id, condition, met_at)
    select n.job_id, n.on_job_id, n.condition, case when n.met then now() end
    from unnest(%s::bigint[], %s::bigint[], %s::text[], %s::boolean[]) n (job_id, on_job_id, condition, met)
"""


@dataclass(slots=True)
class NewJob:
    """A row to be. `pending` is the text of a multirange; one that `ended` is cancelled as a whole."""

    project_id: int
    queue_id: int
    name: str
    labels: dict[str, str]
    spec: dict[str, Any]
    state: str
    reason: str | None
    message: str | None
    priority: int
    user_hold: bool
    unmet: int
    element_count: int
    pending: str
    ended: bool = False
    retry_of: int | None = None

    def row(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def insert(tx: Transaction, submitter_id: int, jobs: Sequence[NewJob]) -> list[int]:
    """Write jobs and their labels. The numbers come back in the order of `jobs`."""
    rows = tx.all(_INSERT, (submitter_id, Jsonb([job.row() for job in jobs])))
    numbers = sorted(row["id"] for row in rows)  # drawn in the order of the input
    labels = [
        (job.project_id, f"{key}={value}", number) for job, number in zip(jobs, numbers, strict=True) for key, value in job.labels.items()
    ]
    if labels:
        tx.execute(_INSERT_LABELS, [list(column) for column in zip(*labels, strict=True)])
    return numbers


def insert_dependencies(tx: Transaction, rows: Sequence[tuple[int, int, str, bool]]) -> None:
    """Job, the job that it waits for, condition, and whether that is met already."""
    if rows:
        tx.execute(_INSERT_DEPENDENCIES, [list(column) for column in zip(*rows, strict=True)])


def find(tx: Transaction, number: int) -> dict[str, Any] | None:
    """One job with its document and, as the text of a multirange, its pending indices."""
    return tx.first(_FIND, (number,))


def find_many(tx: Transaction, numbers: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Jobs with their documents, by number."""
    return {row["id"]: row for row in tx.all(_FIND_MANY, (list(numbers),))}


def newest_named(tx: Transaction, project_ids: Sequence[int], name: str) -> int | None:
    """The number of the newest job of that name in any of the projects."""
    return tx.one(_NEWEST_NAMED, (list(project_ids), name))["id"] if project_ids else None


def number_of(reference: str) -> int | None:
    """The job number that `reference` may be the id of."""
    try:
        return decode_job_id(reference)
    except ValueError:
        return None


_PROJECTS = """
    select id, path from scopes
    where kind = 'project' and exists (
        select 1 from unnest(%(paths)s::text[]) mine where path = mine or starts_with(path, mine || '/')
    ) and (%(within)s::text is null or path = %(within)s or starts_with(path, %(within)s || '/'))
    order by path
"""


def projects_below(tx: Transaction, paths: Sequence[str], within: str | None = None) -> list[dict[str, Any]]:
    """Projects at or below any of `paths`, and at or below `within` where that is given."""
    return tx.all(_PROJECTS, {"paths": list(paths), "within": within}) if paths else []


_RANGES = """
    select range_agg(succeeded)::text as succeeded, range_agg(failed)::text as failed, range_agg(cancelled)::text as cancelled
    from array_results where job_id = %s
"""


def result_ranges(tx: Transaction, number: int) -> dict[str, str | None]:
    """Finished indices of an array, as texts of multiranges."""
    return tx.one(_RANGES, (number,))


_LATEST_ATTEMPTS = """
    select distinct on (a.job_id) a.job_id, a.index, a.number, a.state, a.placement, c.name as cluster, si.name as site
    from attempts a join clusters c on c.id = a.cluster_id join sites si on si.id = c.site_id
    where a.job_id = any(%s) order by a.job_id, a.index, a.number desc
"""


def latest_attempts(tx: Transaction, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
    """The latest attempt of each job that has no array, with its cluster and site."""
    return {row["job_id"]: row for row in tx.all(_LATEST_ATTEMPTS, (list(numbers),))} if numbers else {}


_ATTEMPTS = """
    select a.*, c.name as cluster, si.name as site
    from attempts a join clusters c on c.id = a.cluster_id join sites si on si.id = c.site_id
    where a.job_id = %(job)s and (a.index, a.number) > (%(after_index)s, %(after_number)s)
      and (%(index)s::int is null or a.index = %(index)s)
    order by a.index, a.number limit %(limit)s
"""


def attempts(tx: Transaction, number: int, *, index: int | None, after: tuple[int, int], limit: int) -> list[dict[str, Any]]:
    """Attempts in the order of index and number, those after `after`."""
    if index is not None:
        after = max(after, (index, 0))
    return tx.all(_ATTEMPTS, {"job": number, "index": index, "after_index": after[0], "after_number": after[1], "limit": limit})


_NODE_NAMES = "select id, name from nodes where id = any(%s)"


def node_names(tx: Transaction, node_ids: Iterable[int]) -> dict[int, str]:
    ids = sorted(set(node_ids))
    return {row["id"]: row["name"] for row in tx.all(_NODE_NAMES, (ids,))} if ids else {}


_USAGE = """
    select coalesce(sum((usage ->> 'cpu_seconds')::float8), 0) as cpu_seconds,
           coalesce(max((usage ->> 'peak_memory_bytes')::bigint), 0) as peak_memory_bytes,
           coalesce(sum((usage ->> 'read_bytes')::bigint), 0)::bigint as read_bytes,
           coalesce(sum((usage ->> 'written_bytes')::bigint), 0)::bigint as written_bytes,
           count(*) filter (where usage <> '{}') as reported
    from attempts where job_id = %s
"""


def usage(tx: Transaction, number: int) -> dict[str, Any] | None:
    """What the attempts of a job without an array used, summed; None before anything was reported."""
    row = tx.one(_USAGE, (number,))
    return row if row.pop("reported") else None


def set_hold(tx: Transaction, number: int, held: bool) -> None:
    """Note a user's hold on a job whose row is locked; its state follows by `store.elements`."""
    tx.execute("update jobs set user_hold = %s where id = %s", (held, number))


def project_count(tx: Transaction) -> int:
    """How many projects there are."""
    return tx.one("select count(*) as count from scopes where kind = 'project'")["count"]


NOBODY = 0
"""The number of no queue and of nobody."""


def queue_number(tx: Transaction, name: str) -> int:
    """The number of the queue of that name, or `NOBODY`."""
    row = tx.first("select id from queues where name = %s", (name,))
    return row["id"] if row else NOBODY


def principal_number(tx: Transaction, name: str) -> int:
    """The number of the principal of that name, or `NOBODY`."""
    row = tx.first("select id from principals where name = %s", (name,))
    return row["id"] if row else NOBODY
