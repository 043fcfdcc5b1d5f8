"""What people do to a run: pause, resume, cancel, and do it again in part.

Guarantees: one's own runs need `job:change`, those of others `job:change-any`; doing the same again changes nothing; a rerun is a new
run, over the very partitions of the old one, in which what stands is succeeded from the beginning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bushel.control.audit import audit
from bushel.control.cancel import stop_jobs
from bushel.control.elements import PIPELINES, lock_jobs, write_jobs
from bushel.control.result_retention import RETENTION_DAYS
from bushel.control.run_state import made_of
from bushel.control.runs import Again, begin, run_event
from bushel.domain.errors import Conflict, FieldProblem, InvalidDocument, NotFound
from bushel.domain.lifecycle import Reason
from bushel.domain.principal import Principal
from bushel.domain.ranges import IndexRanges
from bushel.spec.canary import APPROVED, FAILED, SAMPLING
from bushel.spec.pipeline_canonical import ONCE, PIPELINE_PARTITIONS, no_stage, space_of
from bushel.store import jobs, partitions, pipelines, runs
from bushel.store.database import Transaction

NOTHING = IndexRanges()


def insist_may_change(principal: Principal, run: Mapping[str, Any]) -> None:
    """
    Raises:
        Forbidden: it is somebody else's run, or one may only look here.
    """
    permission = "job:change" if run["submitter_id"] == principal.id else "job:change-any"
    principal.may(permission, run["project"], f"run {run['number']} of {run['pipeline']}")


def _lock(tx: Transaction, principal: Principal, run_id: int) -> dict[str, Any]:
    run = runs.lock(tx, [run_id]).get(run_id)
    if run is None:
        raise NotFound("there is no such run, or you may not see it")
    insist_may_change(principal, run)
    return run


def set_run_paused(tx: Transaction, principal: Principal, run_id: int, paused: bool) -> None:
    """Nothing more of it is started; what runs goes on. Or let it go on.

    Raises:
        Conflict: it has ended.
    """
    run = _lock(tx, principal, run_id)
    if run["paused"] == paused:
        return
    if run["ended_at"] is not None:
        raise Conflict(f"run {run['number']} of {run['pipeline']} has ended: {run['state']}")
    runs.set_paused(tx, run_id, paused)
    locked = lock_jobs(tx, (row["job_id"] for row in runs.jobs(tx, [run_id])))
    for job in locked.values():
        if not job.ended:
            jobs.set_hold(tx, job.id, paused)
            job.user_hold = paused
            job.dirty = True
    write_jobs(tx, locked.values(), principal.name)
    what = "paused" if paused else "resumed"
    tx.emit(run_event(f"run.{what}", run, principal.name, state=run["state"]))
    audit(tx, principal, f"run:{'pause' if paused else 'resume'}", f"run/{run['pipeline']}/{run['number']}", run["project"])
    tx.wake(PIPELINES)


def cancel_run(tx: Transaction, principal: Principal, run_id: int, message: str | None = None) -> None:
    """Stop all of it. Cancelling what has ended changes nothing."""
    run = _lock(tx, principal, run_id)
    if run["state"] != "running":
        return
    text = message or f"cancelled by {principal.name}"
    runs.write_run(tx, run_id, state="stopping", reason="cancelled", message=text, due=True)
    locked = lock_jobs(tx, (row["job_id"] for row in runs.jobs(tx, [run_id])), with_pending=True)
    stop_jobs(tx, locked, Reason.CANCELLED_BY_USER, text, principal.name)
    write_jobs(tx, locked.values(), principal.name)
    tx.emit(run_event("run.stopping", run, principal.name, state="stopping", reason="cancelled", message=text))
    audit(tx, principal, "run:cancel", f"run/{run['pipeline']}/{run['number']}", run["project"])
    tx.wake(PIPELINES)


@dataclass(frozen=True, slots=True)
class Redo:
    """What is to be done again, beside what has not succeeded: nothing more, these stages and all after them, what was made by code
    that meets a condition; of these partitions alone.
    """

    stages: tuple[str, ...] = ()
    where: str | None = None
    chosen: tuple[str, ...] = ()

    def told(self) -> dict[str, Any]:
        return {
            name: value for name, value in (("from", list(self.stages)), ("where", self.where), ("partitions", list(self.chosen))) if value
        }


_WHERE = re.compile(r"code\s*(<=|>=|<|>|==|=|!=)\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_COMPARE = {
    "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
    "=": lambda a, b: a == b, "==": lambda a, b: a == b, "!=": lambda a, b: a != b,
}  # fmt: skip


def code_key(code: str) -> tuple[tuple[int, int, str], ...]:
    """So that v2 comes before v10."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.findall(r"\d+|[^\d]+", code))


def meets(where: str, code: str) -> bool:
    """Whether a version of code is one that `code<v2` asks for; one without a name is older than all.

    Raises:
        InvalidDocument: it has another form.
    """
    match = _WHERE.fullmatch(where.strip())
    if match is None:
        raise InvalidDocument([FieldProblem("/where", "not a condition on the code. Write code<v2, or code=v1")])
    return _COMPARE[match[1]](code_key(code), code_key(match[2]))


def rerun(tx: Transaction, principal: Principal, run_id: int, redo: Redo | None = None, *, version: int | None = None) -> int:
    """A new run that does again what `redo` says and what has not succeeded. Its id. Of the newest version unless one is named.

    Raises:
        Conflict: it has not ended.
        InvalidDocument: a stage, partition or condition that makes no sense.
    """
    redo = redo or Redo()
    base = _lock(tx, principal, run_id)
    principal.may("job:submit", base["project"], f"project {base['project']}")
    if base["ended_at"] is None:
        raise Conflict(f"run {base['number']} of {base['pipeline']} has not ended", suggestion=f"bushel pipeline cancel {base['pipeline']}")
    pipeline = pipelines.find(tx, [base["project_id"]], base["pipeline"])[0]
    chosen: int = pipeline["version"] if version is None else version
    document = pipelines.document(tx, pipeline["id"], chosen)
    if document is None:
        raise NotFound(f"pipeline {pipeline['name']} has no version {chosen}")
    again = plan_again(tx, base, document, redo)
    parameters = {name: value for name, value in base["parameters"].items() if name in document.get("parameters", {})}
    return begin(tx, principal, pipeline, document, chosen, base["queue_id"], parameters=parameters, backfill=base["backfill"], again=again)


def approve(tx: Transaction, principal: Principal, run_id: int, message: str) -> int:
    """Let a run go on whatever its canary's gates say. The id of the run that does so: itself while its sample is not judged; else
    a new one, of the same version and with the same inputs, in which all that the sample did stands.

    Raises:
        Conflict: there is nothing to let pass.
    """
    base = _lock(tx, principal, run_id)
    principal.may("job:submit", base["project"], f"project {base['project']}")
    name, canary = f"run {base['number']} of {base['pipeline']}", base["canary"]
    approved = {"by": principal.name, "message": message, "run": base["number"]}
    if canary is not None and canary["state"] == SAMPLING and base["state"] == "running":
        _note_approval(tx, principal, base, message, [])
        runs.write_canary(tx, run_id, {**canary, "approved": approved})
        runs.set_due(tx, [run_id], True)
        tx.wake(PIPELINES)
        return run_id
    if canary is None or canary["state"] != FAILED or base["reason"] != "canary_failed":
        raise Conflict(f"no gate of a canary stopped {name}", suggestion=f"bushel pipeline get {base['pipeline']} --run {base['number']}")
    if base["ended_at"] is None:
        raise Conflict(f"{name} is still stopping: try again in a moment")
    pipeline = pipelines.find(tx, [base["project_id"]], base["pipeline"])[0]
    document = pipelines.document(tx, pipeline["id"], base["version"]) or {}
    again = plan_again(tx, base, document, Redo())
    again.told = {"approved": message}
    again.canary = {**canary, "state": APPROVED, "approved": approved}
    again.inputs = base["inputs"]
    _note_approval(tx, principal, base, message, [one["gate"] for one in canary["outcomes"] if not one["holds"]])
    return begin(
        tx, principal, pipeline, document, base["version"], base["queue_id"],
        parameters=base["parameters"], backfill=base["backfill"], again=again,
    )  # fmt: skip


def _note_approval(tx: Transaction, principal: Principal, run: Mapping[str, Any], message: str, gates: list[str]) -> None:
    """`gates`: those that did not hold."""
    identity = f"run/{run['pipeline']}/{run['number']}"
    audit(tx, principal, "run:approve", identity, run["project"], message=message, gates=gates, version=run["version"])
    tx.emit(run_event("run.approved", run, principal.name, message=message, gates=gates))


def plan_again(tx: Transaction, base: Mapping[str, Any], document: Mapping[str, Any], redo: Redo) -> Again:
    """Which results stand, stage by stage in their order: what has to be done again makes all that was made of it have to be, too.

    Raises:
        Conflict: what its partitions came to is no longer known.
    """
    if base["results_freed_at"] is not None:
        name = f"run {base['number']} of {base['pipeline']}"
        raise Conflict(
            f"the results of {name} are not kept any more: it ended more than {RETENTION_DAYS} days ago",
            suggestion=f"bushel pipeline run {base['pipeline']}",
        )
    unknown = sorted(set(redo.stages) - set(document["stages"]))
    if unknown:
        raise InvalidDocument([FieldProblem("/from", no_stage(unknown[0], document["stages"]), "not_found")])
    if redo.where is not None:
        meets(redo.where, "v0")
    before = {row["name"]: row for row in runs.stages(tx, [base["id"]])}
    jobs_of: dict[int, list[int]] = {}
    for row in runs.jobs(tx, [base["id"]]):
        jobs_of.setdefault(row["stage_id"], []).append(row["job_id"])
    again = Again(base["id"], told=redo.told())
    chosen = _chosen(tx, before, document, redo)
    doing: dict[str, IndexRanges | None] = {}  # None: its partitions have to be found again
    for name, stage in document["stages"].items():
        space, old = space_of(document, name), before.get(name)
        known = space not in document["stages"] or doing.get(space) == NOTHING
        set_id = again.sets.get(space) or next(
            (row["set_id"] for row in before.values() if row["set_id"] and _space(row, document) == space), None
        )
        if not known or set_id is None:
            doing[name] = None
            continue
        again.sets[space] = set_id
        count = partitions.find(tx, set_id)["count"]
        everything = IndexRanges(((0, count),)) if count else NOTHING
        usable = old is not None and old["set_id"] == set_id
        done = runs.finished(tx, jobs_of.get(old["id"], []), everything, on_end=False) if usable and old is not None and count else NOTHING
        wanted = everything if name in redo.stages else NOTHING
        if redo.where is not None and old is not None:
            wanted = wanted | _made_by(tx, old, done, redo.where)
        if redo.chosen and not redo.stages and redo.where is None and space == PIPELINE_PARTITIONS:
            wanted = chosen
        asked = everything if not redo.chosen or space != PIPELINE_PARTITIONS else chosen
        wanted = (wanted & asked) | (everything - done if not redo.chosen or space != PIPELINE_PARTITIONS else (everything - done) & chosen)
        for edge in stage["after"]:
            upstream = doing.get(edge["stage"])
            if upstream is None or (edge["edge"] == "all" and upstream):
                wanted = everything
            elif edge["edge"] != "all" and upstream:
                wanted = wanted | made_of(edge, upstream, count)
        doing[name] = wanted
        if old is not None and usable:
            again.stages[name] = (old["id"], done - wanted, everything - done - wanted)
    return again


def _space(row: Mapping[str, Any], document: Mapping[str, Any]) -> str | None:
    return space_of(document, row["name"]) if row["name"] in document["stages"] else None


def _chosen(tx: Transaction, before: Mapping[str, Mapping[str, Any]], document: Mapping[str, Any], redo: Redo) -> IndexRanges:
    if not redo.chosen:
        return NOTHING
    from bushel.control.runs import matching

    set_id = next((row["set_id"] for row in before.values() if _space(row, document) == PIPELINE_PARTITIONS), None)
    if set_id is None:
        listed = [row for row in before.values() if _space(row, document) not in (None, ONCE)]
        raise InvalidDocument(
            [FieldProblem("/partitions", "its partitions are not those of the pipeline" if listed else "it has none", "conflict")]
        )
    names, _ = partitions.all_names(tx, set_id)
    found: list[int] = []
    for number, pattern in enumerate(redo.chosen):
        places = matching(names, pattern)
        if not places:
            raise InvalidDocument([FieldProblem(f"/partitions/{number}", f"no partition is called {pattern}", "not_found")])
        found += places
    return IndexRanges.of_indices(found)


_MADE = """
    select s.base_stage_id, s.carried::text as carried, v.document -> 'stages' -> s.name ->> 'code' as code
    from run_stages s join runs r on r.id = s.run_id
    join pipeline_versions v on v.pipeline_id = r.pipeline_id and v.version = r.version where s.id = %s
"""


def _made_by(tx: Transaction, stage: Mapping[str, Any], done: IndexRanges, where: str) -> IndexRanges:
    """Those that were made by code that meets the condition, in this run or in the one that they were carried over from."""
    found = NOTHING
    stage_id: int | None = stage["id"]
    while stage_id is not None and done:
        row = tx.one(_MADE, (stage_id,))
        carried = IndexRanges.from_postgres(row["carried"])
        if meets(where, row["code"] or ""):
            found = found | (done - carried)
        done, stage_id = done & carried, row["base_stage_id"]
    return found


def find_run(tx: Transaction, pipeline: Mapping[str, Any], number: int | None) -> int:
    """The run of that number, or the newest.

    Raises:
        NotFound: there is none.
    """
    run_id = runs.find(tx, pipeline["id"], number)
    if run_id is None:
        name = pipeline["name"]
        raise NotFound(
            f"pipeline {name} has not been run" if number is None else f"pipeline {name} has no run {number}",
            suggestion=f"bushel pipeline run {name}" if number is None else f"bushel pipeline ls {name}",
        )
    return run_id
