"""Why a job does not run yet, and what would start it.

Guarantees: the answer is that of the scheduler itself: the same `plan` over a snapshot of the same rows. "It would start" was planned
with that very change. Only counts are told of jobs and queues that are others' business. Nothing is written, no lock is taken.

A process that explains keeps a snapshot of its own, loaded with the first question and followed from then on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

from bushel.control import explanation_texts as texts
from bushel.control.canary_measures import rest_waits_for
from bushel.control.job_history import hindsight_of, likely_remaining
from bushel.control.jobs import find_job
from bushel.control.plan_reasons import alternative_view, headline, placement_of, reason, waiting_reasons
from bushel.control.preemption import live_policy
from bushel.control.snapshot import SnapshotKeeper
from bushel.domain.ids import encode_job_id
from bushel.domain.job import JobShape
from bushel.domain.lifecycle import TERMINAL_JOB_STATES, JobState
from bushel.domain.principal import Principal
from bushel.scheduling.alternatives import alternatives
from bushel.scheduling.entities import ReadyJob, ShapeClass
from bushel.scheduling.hindsight import Hindsight
from bushel.scheduling.plan import Plan, Policy, Start, plan
from bushel.spec.explanation import AlternativeView, ExplanationView, ReasonView, StartPlaceView
from bushel.store.database import Database, Transaction
from bushel.workloads.compile import compile_job

_POLICY = live_policy(Policy(starts_limit=20_000))
_PARENTS_SHOWN = 20
_ALTERNATIVES_SECONDS = 2.0
"""No more changes are tried after so long: an answer that comes is worth more than the last way out."""

NamesOf = Callable[[Collection[int]], Mapping[int, str]]

_DEPENDENCIES = """
    select d.on_job_id, d.condition, p.name, p.state, count(*) over () as total
    from dependencies d join jobs p on p.id = d.on_job_id
    where d.job_id = %s and d.met_at is null order by d.on_job_id limit %s
"""

_BACKOFF = """
    select count(*) as elements, min(due_at) as first, extract(epoch from min(due_at) - now())::double precision as seconds
    from retries where job_id = %s and due_at is not null
"""


_NAMES = "select j.id, j.name, s.path as project from jobs j join scopes s on s.id = j.project_id where j.id = any(%s)"
_LAST_END = "select ended_at from attempts where job_id = %s and index = 0 and ended_at is not null order by number desc limit 1"


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """What would become of a job if it were submitted now: whether all or some of it starts, where, or why not."""

    starts_now: bool
    elements_now: int
    placement: StartPlaceView | None
    sentence: str


@dataclass(frozen=True, slots=True)
class JobFacts:
    """A job's row as `store.jobs.find` gives it, the moment it was read, and since when the job has waited: since the end of
    its last attempt, or its submission. An array counts from its submission: some of it may have waited since then."""

    row: Mapping[str, Any]
    shape: JobShape
    now: datetime
    waiting_since: datetime

    def view(
        self,
        sentence: str,
        reasons: list[ReasonView],
        *,
        placement: StartPlaceView | None = None,
        would_start: list[AlternativeView] | None = None,
    ) -> ExplanationView:
        row = self.row
        waits = row["ended_at"] is None and (row["pending_count"] or row["delayed_count"])
        waited = max(0.0, (self.now - self.waiting_since).total_seconds())  # an attempt's end may be told by a clock that is ahead
        asks_for = texts.asks_for(ShapeClass.of(self.shape))
        if waits and placement is None:
            sentence = f"{row['name']} has waited {texts.duration(waited) if waited >= 1 else 'less than 1 s'} for {asks_for}: {sentence}"
        return ExplanationView(
            job=encode_job_id(row["id"]),
            name=row["name"],
            project=row["project"],
            queue=row["queue"],
            state=row["state"],
            sentence=sentence,
            asks_for=asks_for,
            starts_now=placement is not None,
            waiting_since=self.waiting_since.isoformat() if waits else None,
            waited_seconds=round(waited, 3) if waits else None,
            reasons=reasons,
            would_start=would_start or [],
            placement=placement,
            as_of=self.now.isoformat(),
        )


class Explainer:
    """A snapshot for questions. May be asked from many threads; one is answered at a time."""

    def __init__(self, database: Database) -> None:
        self._keeper = SnapshotKeeper(database)
        self._lock = threading.Lock()
        self._plan: tuple[int, Plan] | None = None

    def would_start(self, shape: JobShape, queue_id: int, priority: int | None = None) -> PlanSummary:
        """Plan a job that does not exist, behind all that wait."""
        with self._lock:
            self._keeper.refresh()
            snapshot = self._keeper.snapshot
            job_id = max(snapshot.lines.where, default=0) + 1
            startable = shape.element_count if shape.array_limit is None else min(shape.element_count, shape.array_limit)
            job = ReadyJob(
                job_id,
                queue_id,
                ShapeClass.of(shape),
                shape.priority if priority is None else priority,
                self._keeper.now.timestamp(),
                startable,
                shape.indices,
            )
            made = plan(snapshot.with_jobs([job]), self._keeper.now, _POLICY)
            starts = made.starting_jobs.get(job_id, [])
            if starts:
                what = "starts now" if len(starts) >= startable else f"{texts.plural(len(starts), 'element')} of {startable:,} start now"
                return PlanSummary(len(starts) >= startable, len(starts), placement_of(snapshot.fleet, _nodes_of(starts[0])), what)
            return PlanSummary(False, 0, None, "waits: " + headline(waiting_reasons(made, job)))

    @contextmanager
    def planned(self, added: ReadyJob | None = None) -> Iterator[tuple[Plan, datetime]]:
        """The plan as things are now, and the moment. Nothing else is answered meanwhile. `added` waits as well, as the newest job."""
        with self._lock:
            snapshot, now = self._keeper.refresh(), self._keeper.now
            if added is None:
                yield self._current_plan(), now
            else:
                newest = replace(added, id=max(snapshot.lines.where, default=0) + 1, submitted_seconds=now.timestamp())
                yield plan(snapshot.with_jobs([newest]), now, _POLICY), now

    def explain(self, facts: JobFacts, reasons: list[ReasonView], names: NamesOf, known: Hindsight) -> ExplanationView:
        """Of a job that may start as far as its own rows go; `reasons` stand in those. `names` tells those of jobs that may be seen,
        `known` how long jobs run."""
        with self._lock:
            return self._explain(facts, reasons, names, known)

    def _explain(self, facts: JobFacts, reasons: list[ReasonView], names: NamesOf, known: Hindsight) -> ExplanationView:
        snapshot = self._keeper.refresh()
        job = snapshot.lines.job(facts.row["id"])
        if job is None:
            return facts.view("something of it has just changed; ask again", reasons)
        made = self._current_plan()
        starts = made.starting_jobs.get(job.id)
        if starts:
            return facts.view("it starts with the next plan", reasons, placement=placement_of(snapshot.fleet, _nodes_of(starts[0])))
        reasons = reasons + waiting_reasons(made, job)
        until = time.monotonic() + _ALTERNATIVES_SECONDS
        now, remaining = self._keeper.now, likely_remaining(known, self._keeper.now.timestamp())
        found = alternatives(made, job, now, _POLICY, remaining=remaining, enough=lambda: time.monotonic() > until)
        seen = names({key[0] for other in found if other.trial.ends for key in other.trial.ends.keys})
        views = [alternative_view(snapshot, other, seen) for other in found]
        return facts.view(headline(reasons), reasons, would_start=views)

    def _current_plan(self) -> Plan:
        """One plan serves all questions until something changes."""
        snapshot, now = self._keeper.snapshot, self._keeper.now
        if self._plan is not None:
            revision, made = self._plan
            due = made.revisit_at_seconds
            if revision == snapshot.revision and made.snapshot is snapshot and (due is None or now.timestamp() < due):
                return made
        made = plan(snapshot, now, _POLICY)
        self._plan = (snapshot.revision, made)
        return made


_explainers: WeakKeyDictionary[Database, Explainer] = WeakKeyDictionary()
_explainers_lock = threading.Lock()


def explainer_of(database: Database) -> Explainer:
    """The one of this process for this database."""
    with _explainers_lock:
        if database not in _explainers:
            _explainers[database] = Explainer(database)
        return _explainers[database]


def explain(database: Database, principal: Principal, reference: str, project: str | None = None) -> ExplanationView:
    """
    Raises:
        NotFound: there is no such job, or the principal may not see it.
    """
    with database.transaction() as tx:
        row = find_job(tx, principal, reference, project)
        shape = compile_job(row["spec"])
        last = None if row["is_array"] else tx.first(_LAST_END, (row["id"],))
        facts = JobFacts(row, shape, tx.now, last["ended_at"] if last else row["submitted_at"])
        reasons = [] if JobState(row["state"]) in TERMINAL_JOB_STATES else _not_ready(tx, row, shape)
    if not row["pending_count"] or any(reason["blocking"] for reason in reasons):
        return facts.view(_summary(row, reasons), reasons)
    return explainer_of(database).explain(facts, reasons, names_seen(database, principal), hindsight_of(database))


def names_seen(database: Database, principal: Principal) -> NamesOf:
    """Of jobs by id, those that the principal may see."""

    def names(job_ids: Collection[int]) -> dict[int, str]:
        if not job_ids:
            return {}
        with database.transaction() as tx:
            rows = tx.all(_NAMES, (list(job_ids),))
        return {row["id"]: row["name"] for row in rows if principal.can("job:read", row["project"])}

    return names


def _nodes_of(start: Start) -> list[int]:
    return [run.node_id for run in start.runs]


def would_start(database: Database, shape: JobShape, queue_id: int) -> PlanSummary:
    """What a dry run can say of the start of a job that is not submitted."""
    return explainer_of(database).would_start(shape, queue_id)


# Reasons that stand in the job's own rows ------------------------------------------------------------------------------


def _not_ready(tx: Transaction, row: Mapping[str, Any], shape: JobShape) -> list[ReasonView]:
    reasons: list[ReasonView] = []
    name = encode_job_id(row["id"])
    if row["user_hold"]:
        reasons.append(
            reason("hold", "user_hold", f"it is held; bushel release {name} lets it go", detail={"command": f"bushel release {name}"})
        )
    if row["unmet"]:
        reasons.extend(_dependencies(tx, row["id"]))
    if row["gated_count"]:
        reasons.append(_gated(tx, row))
    if row["delayed_count"]:
        reasons.append(_backoff(tx, row))
    live = row["starting_count"] + row["running_count"] + row["stopping_count"]
    if shape.array_limit is not None and row["pending_count"] and live >= shape.array_limit:
        reasons.append(
            reason(
                "array_limit",
                "array_limit",
                f"{texts.plural(live, 'element')} of it are live, and no more than {shape.array_limit:,} may be at once",
                count=row["pending_count"],
                detail={"live": live, "limit": shape.array_limit},
            )
        )
    return reasons


def _dependencies(tx: Transaction, job_id: int) -> list[ReasonView]:
    words = {"success": "succeed", "failure": "fail", "end": "end"}
    rows = tx.all(_DEPENDENCIES, (job_id, _PARENTS_SHOWN))
    reasons: list[ReasonView] = []
    for parent in rows:
        job, condition, state = encode_job_id(parent["on_job_id"]), parent["condition"], parent["state"]
        sentence = f"it waits for {parent['name']} ({job}), which is {state}, to {words[condition]}"
        reasons.append(reason("dependency", "dependency", sentence, detail={"job": job, "condition": condition, "state": state}))
    if rows and rows[0]["total"] > len(rows):
        more = rows[0]["total"] - len(rows)
        reasons.append(reason("dependency", "dependency", f"and for {texts.plural(more, 'other job')}", count=more))
    return reasons


def _gated(tx: Transaction, row: Mapping[str, Any]) -> ReasonView:
    stage = row["spec"]["stage"]
    waits = "waits for what it is" if row["gated_count"] == 1 else "wait for what they are"
    sample = rest_waits_for(tx, stage["run_id"])
    further = f"for {sample}, " if sample else ""
    limits = f"for room under the limits of {stage['pipeline']}"
    sentence = f"{texts.plural(row['gated_count'], 'partition')} {waits} made of, {further}or {limits}"
    command = f"bushel pipeline get {stage['pipeline']} --run {stage['run']}"
    waiting_alone = not row["pending_count"] and not row["delayed_count"]
    return reason("upstream", "upstream", sentence, count=row["gated_count"], blocking=waiting_alone, detail={"command": command})


def _backoff(tx: Transaction, row: Mapping[str, Any]) -> ReasonView:
    found = tx.one(_BACKOFF, (row["id"],))
    when = "now" if not found["seconds"] or found["seconds"] <= 0 else f"in {texts.duration(found['seconds'] + 0.5)}"
    if row["element_count"] == 1:
        sentence = f"it failed before and is tried again {when}" + (f": {row['message']}" if row["message"] else "")
    else:
        sentence = f"{texts.plural(row['delayed_count'], 'element')} failed before; the next is tried again {when}"
    detail = {"next_at": found["first"].isoformat() if found["first"] else None}
    return reason("backoff", "backoff", sentence, count=row["delayed_count"], blocking=not row["pending_count"], detail=detail)


def _summary(row: Mapping[str, Any], reasons: list[ReasonView]) -> str:
    state = JobState(row["state"])
    if state in TERMINAL_JOB_STATES:
        return f"{row['name']} {'was cancelled' if state is JobState.CANCELLED else state}" + (
            f": {row['message']}" if row["message"] else ""
        )
    if reasons:
        return headline(reasons)
    return f"{row['name']} is {state}; nothing of it waits"
