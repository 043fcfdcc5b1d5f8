"""What a document names must be there: its project and queue, secrets, workdir and the jobs that it waits for.

Guarantees: every check is one query for the whole request; what it names and where in the request is said of each problem; rows
that must not change before the commit are locked, jobs in ascending order, then queues.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bushel.domain.errors import FieldProblem, InvalidDocument, NotFound, QuotaExceeded
from bushel.domain.lifecycle import JobState
from bushel.domain.principal import Principal
from bushel.spec.problems import pointer
from bushel.store import jobs
from bushel.store.database import Transaction

if TYPE_CHECKING:
    from bushel.control.submit import Draft, Place

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a job belongs: its project and its queue."""

    project_id: int
    path: str
    queue_id: int
    queue: str
    limited: bool  # the queue or one above it has a job quota
    now: datetime


@dataclass(slots=True)
class Dependency:
    """A parent: another draft of the request, by its position, or a job that is there already, with its state."""

    name: str
    condition: str
    draft: int | None = None
    number: int = 0
    state: JobState = JobState.QUEUED
    met: bool | None = None


_LIMITED = """(
    with recursive above as (
        select parent_id, job_quota from queues where id = q.id
        union all
        select p.parent_id, p.job_quota from queues p join above on p.id = above.parent_id
    )
    select coalesce(bool_or(job_quota is not null), false) from above
) as limited"""  # whether the queue or one above it has a job quota

_PROJECTS = f"""
    select s.id, s.path, q.id as queue_id, q.name as queue, {_LIMITED}, now() as now
    from scopes s join scopes team on team.id = s.parent_id left join queues q on q.id = coalesce(s.queue_id, team.queue_id)
    where s.kind = 'project'
"""

_PROJECTS_NAMED = _PROJECTS + " and s.path = any(%s)"

_PROJECTS_BELOW = (
    _PROJECTS + " and exists (select 1 from unnest(%s::text[]) mine where s.path = mine or starts_with(s.path, mine || '/')) limit 6"
)

_QUEUES = f"select q.id, q.name, s.path as scope, {_LIMITED} from queues q join scopes s on s.id = q.scope_id where q.name = any(%s)"


def find_destinations(
    tx: Transaction,
    principal: Principal,
    documents: Sequence[Mapping[str, Any]],
    places: Sequence[Place],
    project: str | None,
    problems: list[FieldProblem],
) -> list[Destination | None]:
    """The project and queue of each document.

    Raises:
        NotFound: there is no such project, or the principal may not see it.
        Forbidden: it may not submit there.
    """
    rows: dict[str, dict[str, Any]] = {}
    if project is None and any("project" not in document for document in documents):
        only = _only_project(tx, principal)
        project, rows = only["path"], {only["path"]: only}
    paths = sorted({document.get("project", project) for document in documents})
    if not rows.keys() >= set(paths):
        rows = {row["path"]: row for row in tx.all(_PROJECTS_NAMED, (paths,))}
    for path in paths:
        principal.may("job:submit", path, f"project {path}")
        if path not in rows:
            raise NotFound(f"there is no project {path}, or you may not see it")
    named = sorted({document["queue"] for document in documents if "queue" in document})
    queues = {row["name"]: row for row in tx.all(_QUEUES, (named,))} if named else {}
    made: dict[tuple[str, str | None], Destination | None] = {}
    destinations: list[Destination | None] = []
    for place, document in zip(places, documents, strict=True):
        key = (document.get("project", project), document.get("queue"))
        if key not in made:
            made[key] = _destination(rows[key[0]], key[1], queues)
        if made[key] is None:
            path, queue = key
            sentence = f"the project {path} has no queue yet" if queue is None else f"there is no queue {queue} that {path} may use"
            problems.append(FieldProblem(pointer((*place, "queue")), sentence, "not_found"))
        destinations.append(made[key])
    return destinations


def _destination(project: Mapping[str, Any], queue: str | None, queues: Mapping[str, Mapping[str, Any]]) -> Destination | None:
    if queue is None:
        if project["queue_id"] is None:
            return None
        return Destination(project["id"], project["path"], project["queue_id"], project["queue"], project["limited"], project["now"])
    row = queues.get(queue)
    if row is None or not project["path"].startswith(row["scope"] + "/"):
        return None
    return Destination(project["id"], project["path"], row["id"], row["name"], row["limited"], project["now"])


def _only_project(tx: Transaction, principal: Principal) -> dict[str, Any]:
    """The one project that the principal may submit to.

    Raises:
        InvalidDocument: there is none, or there are several.
    """
    projects = tx.all(_PROJECTS_BELOW, (principal.paths("job:submit"),))
    if len(projects) == 1:
        return projects[0]
    if not projects:
        sentence, suggestion = "you may not submit to any project", "ask an admin for the role member of a project"
    else:
        some = ", ".join(sorted(row["path"] for row in projects)[:5]) + (", …" if len(projects) > 5 else "")
        sentence, suggestion = f"say which project: you may submit to {some}", "--project PATH, or BUSHEL_PROJECT"
    raise InvalidDocument([FieldProblem("/project", sentence, "missing", suggestion)])


_SECRETS = """
    select project.id, array_agg(distinct secret.name) as names
    from unnest(%s::bigint[]) project (id)
    join scopes own on own.id = project.id
    join scopes place on own.path = place.path or starts_with(own.path, place.path || '/')
    join secrets secret on secret.scope_id = place.id and secret.name = any(%s)
    group by project.id
"""


def check_secrets(tx: Transaction, drafts: Sequence[Draft], problems: list[FieldProblem]) -> None:
    """Every secret that a document names is in its project, or in a scope above it."""
    asking = [draft for draft in drafts if "secrets" in draft.spec]
    if not asking:
        return
    names = sorted({name for draft in asking for name in draft.spec["secrets"]})
    known = {row["id"]: set(row["names"]) for row in tx.all(_SECRETS, (sorted({draft.destination.project_id for draft in asking}), names))}
    for draft in asking:
        for number, name in enumerate(draft.spec["secrets"]):
            if name not in known.get(draft.destination.project_id, ()):
                where = pointer((*draft.place, "secrets", number))
                sentence = f"there is no secret {name} in {draft.destination.path} or above"
                problems.append(FieldProblem(where, sentence, "not_found", f"bushel secret set {name}"))


_BLOBS = """
    select b.project_id, b.digest from blobs b
    join unnest(%s::bigint[], %s::text[]) wanted (project_id, digest) on (b.project_id, b.digest) = (wanted.project_id, wanted.digest)
    for key share of b -- so that none is removed for want of jobs before this one is there
"""


def check_blobs(tx: Transaction, drafts: Sequence[Draft], problems: list[FieldProblem]) -> None:
    """Every workdir was uploaded to the project."""
    asking = [draft for draft in drafts if "workdir" in draft.spec]
    if not asking:
        return
    wanted = sorted({(draft.destination.project_id, draft.spec["workdir"]) for draft in asking})
    known = {(row["project_id"], row["digest"]) for row in tx.all(_BLOBS, [list(column) for column in zip(*wanted, strict=True)])}
    for draft in asking:
        digest = draft.spec["workdir"]
        where = pointer((*draft.place, "workdir"))
        if not _DIGEST.fullmatch(digest):
            sentence = "the API takes the digest of an uploaded folder, sha256:…; the command line and the SDK upload the folder for you"
            problems.append(FieldProblem(where, sentence))
        elif (draft.destination.project_id, digest) not in known:
            sentence = f"this folder was not uploaded to {draft.destination.path}"
            problems.append(FieldProblem(where, sentence, "not_found", f"PUT /v1/projects/{draft.destination.path}/blobs/{digest}"))


_QUOTAS = """
    with recursive above as (
        select id as used, id, parent_id, job_quota from queues where id = any(%s)
        union all
        select above.used, q.id, q.parent_id, q.job_quota from queues q join above on q.id = above.parent_id
    )
    select id, array_agg(used) as used from above where job_quota is not null group by id order by id
"""

_LOCK_QUEUES = "select id, name, job_quota from queues where id = any(%s) and job_quota is not null order by id for no key update"

_COUNT_LIVE = """
    with recursive below as (
        select id from queues where id = %(queue)s union all select q.id from queues q join below on q.parent_id = below.id
    )
    select count(*) as count from (
        select 1 from jobs where queue_id = any(array(select id from below)) and ended_at is null limit %(limit)s
    ) live
"""


def check_job_quotas(tx: Transaction, new_by_queue: Mapping[int, int]) -> None:
    """
    Raises:
        QuotaExceeded: a queue, or one above it, would hold more jobs that have not ended than it may.
    """
    limited = {row["id"]: row["used"] for row in tx.all(_QUOTAS, (sorted(new_by_queue),))} if new_by_queue else {}
    if not limited:
        return
    for queue in tx.all(_LOCK_QUEUES, (sorted(limited),)):
        quota = queue["job_quota"]
        new = sum(new_by_queue[used] for used in limited[queue["id"]])
        live = tx.one(_COUNT_LIVE, {"queue": queue["id"], "limit": quota + 1})["count"]
        if live + new > quota:
            raise QuotaExceeded(
                f"the queue {queue['name']} holds {min(live, quota)} jobs that have not ended, of at most {quota}; {new} more do not fit",
                suggestion="wait for jobs to end, cancel some, or ask an admin for a larger job quota",
            )


# Parents -------------------------------------------------------------------------------------------------------------

_FIND_NUMBERS = """
    select j.id, j.name, s.path from jobs j join scopes s on s.id = j.project_id where j.id = any(%s)
"""

_FIND_NAMES = """
    select wanted.project_id, wanted.name, newest.id
    from unnest(%s::bigint[], %s::text[]) wanted (project_id, name)
    cross join lateral (
        select id from jobs j where j.project_id = wanted.project_id and j.name = wanted.name order by id desc limit 1
    ) newest
"""

_LOCK_PARENTS = "select id, state from jobs where id = any(%s) order by id for share"


def find_parents(tx: Transaction, principal: Principal, drafts: Sequence[Draft], problems: list[FieldProblem]) -> Iterator[Draft]:
    """Fill in `dependencies`, lock the parents, and give the drafts that have any in an order in which parents come first."""
    asking = [number for number, draft in enumerate(drafts) if "after" in draft.spec]
    if not asking:
        return
    by_name: dict[tuple[int, str], list[int]] = defaultdict(list)
    for number, draft in enumerate(drafts):
        by_name[draft.destination.project_id, draft.spec["name"]].append(number)
    outside: list[tuple[Draft, int, dict[str, str]]] = []
    for number in asking:
        draft = drafts[number]
        for position, entry in enumerate(draft.spec["after"]):
            inside = [other for other in by_name[draft.destination.project_id, entry["job"]] if other != number]
            if len(inside) > 1:
                where = pointer((*draft.place, "after", position))
                problems.append(FieldProblem(where, f"{len(inside)} jobs of this request are called {entry['job']}", "ambiguous"))
            elif inside:
                _add(draft, Dependency(entry["job"], entry["on"], draft=inside[0]))
            else:
                outside.append((draft, position, entry))
    _find_outside(tx, principal, outside, problems)
    _find_cycle(drafts, asking, problems)
    if not problems:
        yield from _parents_first(drafts, asking)


def _add(draft: Draft, dependency: Dependency) -> None:
    """Unless it is there already."""
    same = (dependency.draft, dependency.number, dependency.condition)
    if all((other.draft, other.number, other.condition) != same for other in draft.dependencies):
        draft.dependencies.append(dependency)


def _find_outside(
    tx: Transaction, principal: Principal, outside: Sequence[tuple[Draft, int, dict[str, str]]], problems: list[FieldProblem]
) -> None:
    """Parents that are jobs already: by id, or the newest of that name in the draft's project."""
    if not outside:
        return
    numbers = {number for _, _, entry in outside if (number := jobs.number_of(entry["job"])) is not None}
    readable = {
        row["id"] for row in tx.all(_FIND_NUMBERS, (sorted(numbers),)) if numbers and principal.can("job:read", row["path"])
    }  # fmt: skip
    names = sorted({(draft.destination.project_id, entry["job"]) for draft, _, entry in outside})
    named = {
        (row["project_id"], row["name"]): row["id"] for row in tx.all(_FIND_NAMES, [list(column) for column in zip(*names, strict=True)])
    }
    found: list[tuple[Draft, Dependency]] = []
    for draft, position, entry in outside:
        number = jobs.number_of(entry["job"])
        if number not in readable:
            number = named.get((draft.destination.project_id, entry["job"]))
        if number is None:
            where = pointer((*draft.place, "after", position))
            problems.append(
                FieldProblem(where, f"there is no job {entry['job']} in {draft.destination.path} or in this request", "not_found")
            )
        else:
            found.append((draft, Dependency(entry["job"], entry["on"], number=number)))
    states = {row["id"]: JobState(row["state"]) for row in tx.all(_LOCK_PARENTS, (sorted({each.number for _, each in found}),))}
    for draft, dependency in found:
        dependency.state = states[dependency.number]
        _add(draft, dependency)


def _find_cycle(drafts: Sequence[Draft], asking: Iterable[int], problems: list[FieldProblem]) -> None:
    ordered = set(_order(drafts, asking))
    for number in asking:
        if number not in ordered:
            where = pointer((*drafts[number].place, "after"))
            problems.append(FieldProblem(where, "these jobs wait for each other in a circle", "cycle"))
            return


def _parents_first(drafts: Sequence[Draft], asking: Iterable[int]) -> Iterator[Draft]:
    asks = set(asking)
    return (drafts[number] for number in _order(drafts, asks) if number in asks)


def _order(drafts: Sequence[Draft], asking: Iterable[int]) -> list[int]:
    """Kahn's algorithm over the parents within the request; what is missing from the result is on a circle or behind one."""
    children: dict[int, list[int]] = defaultdict(list)
    waiting: dict[int, int] = {}
    for number in asking:
        inside = [dependency.draft for dependency in drafts[number].dependencies if dependency.draft is not None]
        waiting[number] = len(inside)
        for parent in inside:
            children[parent].append(number)
    ready = [number for number in set(children) | set(waiting) if not waiting.get(number)]
    order: list[int] = []
    while ready:
        number = ready.pop()
        order.append(number)
        for child in children[number]:
            waiting[child] -= 1
            if not waiting[child]:
                ready.append(child)
    return order
