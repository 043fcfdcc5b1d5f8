"""What an agent reports, applied to attempts, elements and jobs.

Guarantees:

- All reports of a message are applied in one transaction by a handful of statements, however many they are.
- A report changes something only if its attempt is a live one of this cluster, made under its present epoch, if the report is newer
  than the last one applied, and if the life cycle has that step. Anything else in it (foreign or impossible attempts, ranks that do
  not exist, absurd numbers) is left aside without harm.
- What an attempt's end means is decided here alone, whoever found out: the agent, an agent that no longer knows the attempt, or a
  lease that ran out. A success stands even if a stop was asked for meanwhile; after any other end, an element that its owner
  cancelled is cancelled and not tried again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from bushel.control.attempt_reports import LARGEST_USAGE, LONGEST_TEXT, USAGE, Report
from bushel.control.elements import LockedJob, lock_jobs, write_jobs
from bushel.control.task_results import ResultRow, TaskResult, write_results
from bushel.domain.failures import NODE_AT_FAULT, Ending, TaskEnd, ended_for, judge
from bushel.domain.ids import attempt_id
from bushel.domain.lifecycle import ATTEMPT_TRANSITIONS, AttemptState, Outcome, Reason
from bushel.domain.ranges import IndexRanges
from bushel.domain.retry import UNCOUNTED_ATTEMPTS_LIMIT, Final, History, counts_against_owner, decide
from bushel.store import attempts, clusters, log_streams
from bushel.store.attempts import Again, AttemptChange, AttemptKey
from bushel.store.database import SCHEDULE, Event, Transaction
from bushel.store.log_streams import LogRow

CHECKPOINT_NEWS_SECONDS = 10.0
"""Of an attempt that saves its work more often than this, some checkpoints are not told of."""

EXCLUDED_NODES_LIMIT = 32


def apply_reports(
    tx: Transaction, cluster_id: int, actor: str, reports: Mapping[AttemptKey, Report], missing: Sequence[AttemptKey]
) -> set[AttemptKey]:
    """Apply `reports` and end the attempts in `missing` as lost. The caller chose both among the cluster's live attempts of its epoch.

    Locks jobs, attempts and, if an attempt ended without its agent saying so, the cluster. The attempts that a report ended.
    """
    jobs = lock_jobs(tx, {key[0] for key in (*reports, *missing)})
    moves = Moves(tx, jobs, actor)
    for row in attempts.lock_live(tx, [*reports, *missing]):
        report = reports.get(attempts.key_of(row))
        if row["cluster_id"] != cluster_id:
            continue
        if report is None:
            moves.end(row, ended_for(Reason.TASK_LOST, "its agent no longer knows it"))
        elif report.version > row["report_version"]:
            moves.report(row, report)
    moves.write()
    return moves.reported_ends


def end_empty_logs(tx: Transaction, cluster_id: int, over: Mapping[AttemptKey, Report]) -> None:
    """Of attempts that had ended before their reports came: what those say of their logs still counts, if they are of this cluster."""
    silent = {key: report.log for key, report in over.items() if report.printed_nothing}
    if silent:
        ours = log_streams.rank_counts(tx, cluster_id, silent.keys())
        if rows := [log for key, log in silent.items() if ours.get(key) == 1]:
            log_streams.write(tx, rows)


def end_attempts(tx: Transaction, keys: Sequence[AttemptKey], actor: str, ending: Ending) -> int:
    """End those of `keys` that are still live, all for the same cause. How many."""
    jobs = lock_jobs(tx, {key[0] for key in keys})
    moves = Moves(tx, jobs, actor)
    rows = attempts.lock_live(tx, keys)
    for row in rows:
        moves.end(row, ending)
    moves.write()
    return len(rows)


class Moves:
    """What one transaction does to locked attempts and their elements, gathered and then written at once."""

    def __init__(self, tx: Transaction, jobs: Mapping[int, LockedJob], actor: str) -> None:
        self._tx = tx
        self._jobs = jobs
        self._actor = actor
        self._changes: list[tuple[AttemptChange, dict[str, Any]]] = []
        self._again: list[Again] = []
        self._untold: list[tuple[AttemptChange, dict[str, Any]]] = []  # ends that their agents do not know of
        self.reported_ends: set[AttemptKey] = set()
        self._empty_logs: list[LogRow] = []
        self._results: list[ResultRow] = []

    def report(self, row: dict[str, Any], report: Report) -> None:
        """Take over what the agent says, if the attempt can come to that."""
        before, after = AttemptState(row["state"]), report.state
        if before is AttemptState.STOPPING and after in (AttemptState.STARTING, AttemptState.RUNNING):
            after = before  # the order to stop is still on its way
        if after is not before and after not in ATTEMPT_TRANSITIONS[before]:
            return
        job = self._jobs[row["job_id"]]
        task_count = sum(part["ranks"][1] - part["ranks"][0] for part in row["placement"])
        tasks = [task for task in report.tasks if task["rank"] < task_count]
        change = _change(row, after, report, tasks)
        if report.progress is not None:
            change.checkpointed = after is not AttemptState.ENDED and self._is_news(row, report.progress)
            row["progress"] = report.progress
            if not job.is_array:
                job.progress, job.dirty = change.progress, True
        if after is AttemptState.ENDED and any(task["state"] != "ended" for task in tasks):
            return
        job.started = job.started or change.started
        if change.started and before is AttemptState.STARTING and after is not AttemptState.RUNNING:  # it was over before it was told
            self._tell("attempt.running", job, row, state=AttemptState.RUNNING)
            row["version"] += 1
            change.steps = 2
        if after is AttemptState.ENDED:
            ends = [_task_end(task) for task in tasks]
            self.reported_ends.add(change.key)
            if report.printed_nothing:
                self._empty_logs.append(report.log)
            self._end(job, row, judge(ends, task_count, Reason(row["stop_reason"]) if row["stop_reason"] else None), change, report.result)
            return
        if after is not before:
            job.move(before, after)
            reason = None
            if after is AttemptState.STOPPING:  # by the agent itself: the time limit, or a rank that failed
                reason = next((task["reason"] for task in tasks if "reason" in task), None)
                job.stop_reason = job.stop_reason or reason
            self._tell(f"attempt.{after}", job, row, state=after, reason=reason)
        if change.checkpointed:
            self._tell("attempt.checkpoint", job, row, state=after, checkpoint=row["progress"]["checkpoint"])
        change.message = row["message"]
        self._changes.append((change, row))

    def _is_news(self, row: dict[str, Any], progress: Mapping[str, Any]) -> bool:
        """Whether it names another checkpoint than before, and none was told of lately."""
        saved, before = progress.get("checkpoint"), (row["progress"] or {}).get("checkpoint")
        if not isinstance(saved, dict) or saved == before:
            return False
        return row["checkpoint_at"] is None or (self._tx.now - row["checkpoint_at"]).total_seconds() >= CHECKPOINT_NEWS_SECONDS

    def end(self, row: dict[str, Any], ending: Ending) -> None:
        """The attempt is over, though its agent did not say so."""
        change = AttemptChange(attempts.key_of(row), AttemptState.ENDED)
        self._untold.append((change, row))
        self._end(self._jobs[row["job_id"]], row, ending, change)

    def write(self) -> None:
        """Write attempts and jobs. An end that its agent reported is nothing new to it: it hears `forget` by the answer to its report."""
        if not self._changes:
            return
        versions = clusters.bump(self._tx, {row["cluster_id"] for _, row in self._untold})
        for change, row in self._untold:
            change.desired_version = versions[row["cluster_id"]]
        if any(change.state == AttemptState.ENDED for change, _ in self._changes):
            self._tx.wake(SCHEDULE)
        attempts.write(self._tx, [change for change, _ in self._changes])
        attempts.write_again(self._tx, self._again)
        write_jobs(self._tx, self._jobs.values(), self._actor)
        write_results(self._tx, self._results)
        if self._empty_logs:
            log_streams.write(self._tx, self._empty_logs)

    def _end(self, job: LockedJob, row: dict[str, Any], ending: Ending, change: AttemptChange, result: TaskResult | None = None) -> None:
        before = row["state"]
        change.state = AttemptState.ENDED
        change.outcome, change.failure_class, change.reason = ending.outcome, ending.failure, ending.reason
        change.message, change.exit_code, change.signal = ending.message, ending.exit_code, ending.signal
        if ending.reason is Reason.PREEMPTED and change.message is None:
            change.message = row["message"]  # for whom
        self._changes.append((change, row))
        history = _history(row, ending)
        ran_seconds = 0.0
        if ending.outcome is Outcome.CHECKPOINTED and row["started_at"]:
            ran_seconds = (self._tx.now - row["started_at"]).total_seconds()
        what = decide(ending.outcome, ending.failure, job.policy, history, ran_seconds=ran_seconds)
        if ending.outcome is not Outcome.SUCCEEDED and (job.cancelling or row["stop_reason"] == Reason.CANCELLED_BY_USER):
            what = Final(Outcome.CANCELLED)
        one = IndexRanges(((row["index"], row["index"] + 1),))
        if isinstance(what, Final):
            self._final(job, row, ending, what, before, one)
            if result is not None and job.is_stage:
                self._results.append(result.row(change.key, succeeded=what.outcome is Outcome.SUCCEEDED))
        else:
            self._once_more(job, row, ending, what.after_seconds, before, one, history, change.message)
        self._tell(
            "attempt.ended",
            job,
            row,
            state=AttemptState.ENDED,
            outcome=ending.outcome,
            failure_class=ending.failure,
            reason=ending.reason,
            message=change.message,
            exit_code=ending.exit_code,
            signal=ending.signal,
            rank=ending.rank,
            element=what.outcome if isinstance(what, Final) else "delayed" if what.after_seconds else "pending",
            again_after_seconds=None if isinstance(what, Final) else what.after_seconds,
        )

    def _final(self, job: LockedJob, row: dict[str, Any], ending: Ending, final: Final, before: str, one: IndexRanges) -> None:
        job.finish(before, final.outcome, one)
        if final.outcome is Outcome.FAILED:
            message = ending.message
            if final.exhausted:
                limit = job.policy.attempts if ending.failure and counts_against_owner(ending.failure) else UNCOUNTED_ATTEMPTS_LIMIT
                message = f"the last of {limit} attempts: {ending.message or ending.reason}"
            job.fail(Reason.RETRIES_EXHAUSTED if final.exhausted else ending.reason, message, ending.exit_code, ending.failure)
        elif final.outcome is Outcome.CANCELLED and not job.is_array:
            job.exit_code = ending.exit_code
            job.stop_reason = job.stop_reason or row["stop_reason"]
        elif not job.is_array:
            job.exit_code = ending.exit_code

    def _once_more(
        self,
        job: LockedJob,
        row: dict[str, Any],
        ending: Ending,
        after_seconds: float,
        before: str,
        one: IndexRanges,
        history: History,
        message: str | None,
    ) -> None:
        if after_seconds:
            job.move(before, "delayed")
        else:
            job.requeue(before, one)
        if not job.is_array:
            job.note = f"attempt {row['number']} {ending.outcome}: {message or ending.reason}"
        self._again.append(
            Again(
                attempts.key_of(row),
                history.counted_failures,
                history.uncounted_failures,
                history.checkpoints,
                after_seconds or None,
                _excluded(row, ending),
                _checkpoint(row["progress"]) or row["resume_from"],
                (row["preemptions"] or 0) + (ending.outcome is Outcome.PREEMPTED),
            )
        )

    def _tell(self, kind: str, job: LockedJob, row: dict[str, Any], **body: Any) -> None:
        identity = attempt_id(*attempts.key_of(row))
        facts = {name: value for name, value in body.items() if value is not None}
        facts |= {"version": row["version"] + 1, "index": row["index"], "attempt": row["number"]}
        self._tx.emit(Event(kind, job.scope_path, f"attempt/{identity}", self._actor, facts, job.id))


def _change(row: dict[str, Any], state: AttemptState, report: Report, tasks: Sequence[dict[str, Any]]) -> AttemptChange:
    return AttemptChange(
        attempts.key_of(row),
        state,
        tasks=Jsonb(tasks) if tasks else None,
        usage=Jsonb(_usage(tasks)) if tasks else None,
        progress=None if report.progress is None else Jsonb(report.progress),
        report_version=report.version,
        started=any(task["state"] != "starting" and task.get("started_at") for task in tasks) or report.state is AttemptState.RUNNING,
        started_at=min(_times(tasks, "started_at"), default=None),
        ended_at=max(_times(tasks, "ended_at"), default=None),
    )


def _history(row: dict[str, Any], ending: Ending) -> History:
    """With the attempt that just ended."""
    failed = ending.outcome in (Outcome.FAILED, Outcome.LOST, Outcome.PREEMPTED)
    owners = failed and (ending.failure is None or counts_against_owner(ending.failure))
    return History(
        counted_failures=(row["counted_failures"] or 0) + (failed and owners),
        uncounted_failures=(row["uncounted_failures"] or 0) + (failed and not owners),
        checkpoints=(row["checkpoints"] or 0) + (ending.outcome is Outcome.CHECKPOINTED),
    )


def _excluded(row: dict[str, Any], ending: Ending) -> list[int]:
    """Nodes that the element should avoid from now on; the oldest are forgotten first."""
    excluded: list[int] = list(row["excluded_nodes"] or [])
    if ending.reason in NODE_AT_FAULT:
        at_fault = [part["node"] for part in row["placement"] if ending.rank is None or part["ranks"][0] <= ending.rank < part["ranks"][1]]
        excluded += [node for node in at_fault if node not in excluded]
    return excluded[-EXCLUDED_NODES_LIMIT:]


def _checkpoint(progress: Any) -> str | None:
    checkpoint = progress.get("checkpoint") if isinstance(progress, dict) else None
    uri = checkpoint.get("uri") if isinstance(checkpoint, dict) else None
    return uri if isinstance(uri, str) and 0 < len(uri) <= LONGEST_TEXT else None


def _usage(tasks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Summed over ranks."""
    return {name: min(sum(task.get("usage", {}).get(name, 0) for task in tasks), LARGEST_USAGE) for name in USAGE}


def _times(tasks: Sequence[Mapping[str, Any]], name: str) -> Iterator[datetime]:
    """Those that make sense and say of which zone they are."""
    for task in tasks:
        with suppress(KeyError, ValueError):
            time = datetime.fromisoformat(task[name])
            if time.tzinfo is not None and 1970 < time.year < 9999:
                yield time


def _task_end(task: Mapping[str, Any]) -> TaskEnd:
    reason = task.get("reason")
    return TaskEnd(
        rank=task["rank"],
        exit_code=task.get("exit_code"),
        signal=task.get("signal"),
        reason=Reason(reason) if reason else None,
        message=task.get("message"),
        ended_at=task.get("ended_at"),
    )
