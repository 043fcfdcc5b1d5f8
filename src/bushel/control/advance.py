"""Carrying runs on: partitions whose upstream is done are opened, stages that are over are closed, and so is the run.

Guarantees:

- A step is one transaction: it takes word of what finished, and writes what follows from it. Killed anywhere it has happened or not,
  and is done once.
- What a step costs follows what finished since the last one, not the length of the run: what is done is read in the rows of indices
  that are concerned, and whole stages are judged by their counts.
- Never more elements of a stage, a pipeline or a site are opened than its limit leaves, over all runs; fresh runs go before back-fills,
  and later stages before earlier ones.
- A partition is opened once, and only when everything that it is made of is done; one of which something failed is cancelled.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from bushel.control import stage_endings
from bushel.control.canary import canary_of
from bushel.control.cancel import stop_jobs
from bushel.control.elements import locked_jobs, write_jobs
from bushel.control.open_partitions import open_ready
from bushel.control.result_keys import widened
from bushel.control.result_notes import ask_what_was_said, note_results
from bushel.control.run_state import NOTHING, News, RunState, StageJob, StageState, made_of, whole
from bushel.control.runs import run_event
from bushel.domain.errors import StaleEpoch, Unavailable
from bushel.domain.failpoints import reach
from bushel.domain.lifecycle import Reason
from bushel.domain.ranges import IndexRanges
from bushel.store import pipelines, runs
from bushel.store.database import Database, Transaction
from bushel.store.leases import Lease

ACTOR = "controller/pipelines"
NEWS_LIMIT = 500
RUNS_LIMIT = 20

SET_ASIDE_SECONDS = 30.0

_DOCUMENTS_LIMIT = 200

log = logging.getLogger(__name__)


class Advancer:
    """One term of leadership. It remembers the documents of versions, which never change."""

    def __init__(self, database: Database, lease: Lease) -> None:
        self._database = database
        self._lease = lease
        self._documents: dict[tuple[int, int], dict[str, Any]] = {}
        self._bad: dict[int, float] = {}  # runs that could not be carried on, until when they are left alone

    def step(self) -> int:
        """Carry on the runs of which something finished or was changed. How much that was."""
        try:
            return self._step()
        except (StaleEpoch, Unavailable):
            raise
        except Exception:
            log.exception("a step over several runs failed: each is tried by itself")
            return self._one_by_one()

    def _one_by_one(self) -> int:
        """One run that cannot be carried on must not keep the others."""
        with self._database.transaction() as tx:
            ids = {*(row["run_id"] for row in runs.due(tx, RUNS_LIMIT)()), *runs.with_news(tx)} - self._set_aside()
        done = 0
        for run_id in sorted(ids):
            try:
                done += self._step(only=run_id)
            except (StaleEpoch, Unavailable):
                raise
            except Exception:
                log.exception("run_id=%d again_in_seconds=%g cannot be carried on", run_id, SET_ASIDE_SECONDS)
                self._bad[run_id] = time.monotonic() + SET_ASIDE_SECONDS
        return done

    def _set_aside(self) -> set[int]:
        now = time.monotonic()
        self._bad = {run_id: until for run_id, until in self._bad.items() if until > now}
        return set(self._bad)

    def _step(self, only: int | None = None) -> int:
        bad = self._set_aside()
        with self._database.transaction() as tx:
            with tx.together():
                asked = runs.take_news(tx, NEWS_LIMIT, only=only, without=sorted(bad))
                due = runs.due(tx, RUNS_LIMIT + len(bad)) if only is None else runs.one(tx, only)
                self._lease.require(tx)
            news = asked()
            found = {row["run_id"]: row for row in (*due(), *news) if row["run_id"] not in bad}
            if not found:
                return len(news)
            for run in self._load(tx, self._with_limited(tx, found) - bad, news):
                advance(tx, run)
            reach("pipelines.before_commit")
        reach("pipelines.after_commit")
        return len(news) + len(found)

    def _with_limited(self, tx: Transaction, found: Mapping[int, Mapping[str, Any]]) -> set[int]:
        """With the other runs of the pipelines that have limits over all of their runs."""
        versions = {(row["pipeline_id"], row["version"]) for row in found.values()}
        limited = {pipeline for pipeline, version in versions if self._document(tx, pipeline, version).get("limits")}
        return {*found, *(runs.live_of_pipelines(tx, limited) if limited else ())}

    def _document(self, tx: Transaction, pipeline_id: int, version: int) -> dict[str, Any]:
        key = (pipeline_id, version)
        if key not in self._documents:
            if len(self._documents) >= _DOCUMENTS_LIMIT:
                self._documents.clear()
            self._documents[key] = pipelines.document(tx, pipeline_id, version) or {}
        return self._documents[key]

    def _load(self, tx: Transaction, ids: set[int], news: list[dict[str, Any]]) -> list[RunState]:
        """Lock runs, then all of their jobs. Fresh runs first."""
        with tx.together():
            asked = runs.load(tx, ids)
            heard = ask_what_was_said(tx, news)
            tx.now  # noqa: B018 - nothing is read before this, the last
        found, said = asked(), heard()
        loaded = {row["id"]: RunState(row, self._document(tx, row["pipeline_id"], row["version"]), {}, said) for row in found.runs}
        stages: dict[int, StageState] = {}
        for row in found.stages:
            run = loaded[row["run_id"]]
            stages[row["id"]] = run.stages[row["name"]] = StageState(row, run.document["stages"][row["name"]])
        locked = locked_jobs(found.jobs)
        by_job: dict[int, StageState] = {}
        for row in found.stage_jobs:
            stage = by_job[row["job_id"]] = stages[row["stage_id"]]
            ready = row["ready"] and row["ready"] & locked[row["job_id"]].gated
            stage.jobs.append(StageJob(locked[row["job_id"]], row["site"], ready, row["ready"]))
        for row in news:
            stage = by_job.get(row["job_id"])
            if stage is not None:
                stage.news = stage.news or News()
                stage.news.add(row)
        others: dict[int, list[RunState]] = {}
        for run in loaded.values():
            others.setdefault(run.row["pipeline_id"], []).append(run)
        for run in loaded.values():
            run.siblings = others[run.row["pipeline_id"]]
        return sorted(loaded.values(), key=lambda run: (run.row["backfill"], run.row["id"]))


def start(database: Database, lease: Lease) -> Callable[[], int]:
    """The step of one term of leadership."""
    return Advancer(database, lease).step


def advance(tx: Transaction, run: RunState) -> None:
    """Do all that follows for one locked run, and write it."""
    if run.row["ended_at"] is not None:
        runs.set_due(tx, [run.row["id"]], False)
        return
    note_results(tx, run)
    if run.live:
        _stop_if_due(tx, run)
    canary = canary_of(run)
    for stage in run.stages.values():
        if stage.row["set_id"] is None and not stage.ended:
            stage_endings.find_partitions(tx, run, stage)
        if not stage.ended:
            _gather(tx, run, stage)
            whole = stage.row["set_id"] is not None and not stage.late and all(one.job.ended for one in stage.jobs)
            if whole and not (canary and canary.keeps_open(stage)):
                stage_endings.close_stage(tx, run, stage, ACTOR)
    stage_endings.make_waiting_jobs(tx, run, ACTOR)
    if canary is not None and (stop := canary.step(tx, ACTOR)):
        stop_run(tx, run, *stop, ACTOR)
        run.again = True
    if run.live and not run.paused:
        open_ready(tx, run)
    _write(tx, run)


def _gather(tx: Transaction, run: RunState, stage: StageState) -> None:
    """Find what of the stage became ready, and what never will."""
    edges = [(edge, run.stages[edge["stage"]]) for edge in stage.definition["after"]]
    if not any(_moved(edge, before) for edge, before in edges) or not (gated := stage.gated):
        return
    possible, lost = NOTHING, NOTHING
    for edge, before in edges:
        succeeding = edge["on"] == "success"
        if edge["edge"] == "all":
            failed = before.counted("failed", "cancelled") or before.row["state"] in ("failed", "cancelled")
            if succeeding and failed:
                lost = gated
            elif before.ended_now or (before.ended and not before.count):
                possible = gated
        elif before.news is not None:
            done = before.news.succeeded if succeeding else before.news.succeeded | before.news.broken
            possible = possible | (made_of(edge, done, stage.count) & gated)
            if succeeding:
                lost = lost | (made_of(edge, before.news.broken, stage.count) & gated)
    possible = possible - lost
    for edge, before in edges:
        if not possible:
            break
        possible = _satisfied(tx, edge, before, possible, stage.count, alone=len(edges) == 1)
    for one in stage.jobs:
        one.ready = one.ready | (possible & one.job.gated)
        if lost and (closing := lost & one.job.gated):
            one.job.close("cancelled", closing)
            one.job.cause = (Reason.DEPENDENCY_FAILED, "what it is made of failed or was cancelled")


def _moved(edge: Mapping[str, Any], before: StageState) -> bool:
    """Whether anything happened that may make a partition ready, or never so."""
    if edge["edge"] != "all":
        return before.news is not None
    return before.ended or bool(before.counted("failed", "cancelled"))


def _satisfied(
    tx: Transaction, edge: Mapping[str, Any], before: StageState, possible: IndexRanges, count: int, *, alone: bool
) -> IndexRanges:
    """Those of `possible` for which the stage before has done everything."""
    if edge["edge"] == "all":
        good = before.ended and (edge["on"] == "end" or before.row["state"] == "succeeded")
        return possible if good else NOTHING
    if alone and edge["edge"] == "one-to-one":
        return possible  # it is what was just done
    needed = widened(edge, possible, count)
    done = runs.finished(tx, [one.job.id for one in before.jobs], needed, on_end=edge["on"] == "end")
    return whole(edge, done | (IndexRanges(((0, count),)) - needed), possible, count)


def _stop_if_due(tx: Transaction, run: RunState) -> None:
    deadline = run.row["deadline_at"]
    if deadline is not None and deadline <= tx.now:
        stop_run(tx, run, "deadline", "it took longer than its deadline", ACTOR)
        return
    told = _too_many_bad_records(run)
    if told is not None:
        stop_run(tx, run, "bad_records", told, ACTOR)


def _too_many_bad_records(run: RunState) -> str | None:
    total = sum(stage.row["records_total"] for stage in run.stages.values())
    bad = sum(stage.row["records_bad"] for stage in run.stages.values())
    for name, limit, count, of in (
        ("the run", run.document.get("bad_records"), bad, total),
        *((f"stage {s.name}", s.definition.get("bad_records"), s.row["records_bad"], s.row["records_total"]) for s in run.stages.values()),
    ):
        if not limit:
            continue
        if "most" in limit and count > limit["most"]:
            return f"{count:,} records of {name} were set aside; the most is {limit['most']:,}"
        if "share" in limit and of >= LEAST_RECORDS and count > limit["share"] * of:
            return f"{count:,} of {of:,} records of {name} were set aside, more than {limit['share'] * 100:g} %"
    return None


LEAST_RECORDS = 1000
"""A share says something only of so many records."""


def stop_run(tx: Transaction, run: RunState, reason: str, message: str, actor: str) -> None:
    """Stop everything of a locked run; its jobs are written by the caller."""
    run.row |= {"state": "stopping", "reason": reason, "message": message}
    stop_jobs(tx, {one.job.id: one.job for one in run.jobs()}, Reason.CANCELLED_BY_USER, message, actor)
    for one in run.jobs():
        one.ready = NOTHING
    for stage in run.stages.values():
        if not stage.ended and stage.row["set_id"] is None:
            stage.set_state("cancelled", message)
    tx.emit(run_event("run.stopping", run.row, actor, state="stopping", reason=reason, message=message))


def _write(tx: Transaction, run: RunState) -> None:
    over = all(stage.ended for stage in run.stages.values())
    row = run.row
    if over:
        row["state"] = _outcome(run)
    with tx.together():
        runs.write_ready(tx, [(one.job.id, one.ready) for one in run.jobs() if one.ready != one.ready_before])
        runs.write_stages(tx, [stage.row_to_write() for stage in run.stages.values() if stage.dirty])
        runs.write_run(tx, row["id"], state=row["state"], reason=row["reason"], message=row["message"], due=run.again and not over)
        write_jobs(tx, [one.job for one in run.jobs()], ACTOR)
    if over:
        tx.emit(run_event(f"run.{row['state']}", row, ACTOR, state=row["state"], reason=row["reason"], message=row["message"]))


def _outcome(run: RunState) -> str:
    if run.row["state"] == "stopping":
        return "cancelled" if run.row["reason"] == "cancelled" else "failed"
    states = {stage.row["state"] for stage in run.stages.values()}
    for state in ("failed", "cancelled"):
        if state in states:
            first = next(stage for stage in run.stages.values() if stage.row["state"] == state)
            run.row["reason"] = "stage_failed" if state == "failed" else "stage_cancelled"
            run.row["message"] = first.row["message"]
            return state
    return "succeeded"
