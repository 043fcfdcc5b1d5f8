"""Bringing what runs to what is wanted: answers of the control plane and events of tasks go in, starts, stops and
reports come out.

Guarantees: level-triggered: each answer and each event may come twice, late or not at all, and the outcome is the
same; an attempt that was ended, given up or forgotten is never started again; a task whose lease belongs to an older
epoch is stopped before a new epoch is asked for. One lock; nothing slow is done under it.
"""

from __future__ import annotations

import threading
import time

from bushel.agent.attempts import Attempt, ReportVersions, Task, ended_unseen
from bushel.agent.executors.local.folder import parse_task_key, task_key
from bushel.agent.requests import CannotRun, FreePorts
from bushel.domain.failpoints import reach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from bushel.agent.devices import Devices
    from bushel.agent.engine_parts import Executor, Maker
    from bushel.spec.agent import AttemptReport, DesiredAttempt

LEASE_GRACE_SECONDS = 2.0
REMEMBERED_LIMIT = 100_000
_UNWANTED = "cancelled_by_user"


class Core:
    """`changed` is called when there is something to report, with whether somebody may be waiting for it; `logs_ended` when the
    output of a task is complete.
    """

    def __init__(
        self,
        maker: Maker,
        devices: Devices,
        generation: int,
        *,
        changed: Callable[[bool], None],
        fetch: Callable[[str, str, Callable[[str | None, str | None], None]], None],
        logs_ended: Callable[[str, str, int, int | None], None],
    ) -> None:
        self._maker = maker
        self._devices = devices
        self._versions = ReportVersions(generation)
        self._changed = changed
        self._fetch = fetch
        self._logs_ended = logs_ended
        self._executor: Executor | None = None
        self._ports = FreePorts()
        self._attempts: dict[str, Attempt] = {}
        self._dirty: set[str] = set()
        self._done: dict[str, None] = {}  # forgotten attempts, oldest first
        self._logs_sent: set[str] = set()
        self._lock = threading.RLock()
        self.epoch: int | None = None
        self.known_version = 0
        self.refuses_starts = False

    # At the start ----------------------------------------------------------------------------------------------------

    def adopt(self, executor: Executor, found: Mapping[str, tuple[dict[str, Any], dict[str, Any] | None]], epoch: int | None) -> None:
        """Take over what the folder holds. `epoch` is that of the lease on disk."""
        with self._lock:
            self._executor = executor
            self.epoch = epoch
            for key, (start, end) in found.items():
                id, rank = parse_task_key(key)
                attempt = self._attempts.get(id)
                if attempt is None:
                    attempt = self._attempts[id] = Attempt(id, start.get("task_count", 1), start.get("epoch", epoch or 0))
                    attempt.master_port = start.get("master_port", 0)
                    attempt.grace_seconds = start.get("grace_seconds", 30.0)
                task = attempt.tasks.setdefault(rank, Task(rank))
                task.node, task.devices = start.get("node", ""), start.get("devices", [])
                self._devices.hold(task.node, task.devices)
                task.started_at = start.get("started_at")
                if not start.get("pending"):
                    task.advance("running")
                if end is not None:
                    self._end(attempt, task, end)
            for attempt in list(self._attempts.values()):
                if epoch is not None and attempt.epoch != epoch:
                    self._abandon(attempt)
                else:
                    self._touch(attempt)

    # What the control plane says -------------------------------------------------------------------------------------

    def begin_epoch(self, epoch: int) -> None:
        """A lease was granted. Attempts of another epoch are nobody's any more."""
        with self._lock:
            if epoch != self.epoch:
                self.epoch = epoch
                self.known_version = 0
            for attempt in list(self._attempts.values()):
                if attempt.epoch != epoch:
                    self._abandon(attempt)

    def lose_epoch(self, epoch: int | None) -> bool:
        """The lease has passed on: stop everything. False if that is known already."""
        with self._lock:
            if epoch is None or self.epoch != epoch:
                return False
            self.epoch = None
            self.known_version = 0
            for attempt in list(self._attempts.values()):
                self._abandon(attempt)
            return True

    def live_count(self) -> int:
        """Tasks that may still have processes."""
        with self._lock:
            return sum(not task.ended for attempt in self._attempts.values() for task in attempt.tasks.values())

    def take_answer(
        self, version: int, complete: bool, wanted: Sequence[DesiredAttempt], forget: Sequence[str], *, rebooted: bool = False
    ) -> None:
        """Act on an answer; of one that is older than the last only what may be forgotten, for that stays true.

        `rebooted`: what is wanted may have run before the machine was started.
        """
        with self._lock:
            for id in forget:
                self._forget(id)
            if version < self.known_version:
                return
            for desired in wanted:
                self._want(desired, rebooted)
            if complete:
                listed = {desired["id"] for desired in wanted}
                for attempt in list(self._attempts.values()):
                    if attempt.id not in listed and not attempt.abandoned:
                        self._unwant(attempt)
            reach("core.before_known")
            self.known_version = version

    def _want(self, desired: DesiredAttempt, rebooted: bool) -> None:
        id = desired["id"]
        if id in self._done or self.epoch is None:
            return
        attempt = self._attempts.get(id)
        if attempt is None:
            attempt = self._attempts[id] = Attempt(id, desired["task_count"], self.epoch)
        if attempt.abandoned:
            return
        attempt.desired = desired
        attempt.task_count = desired["task_count"]
        attempt.grace_seconds = float((desired["spec"].get("preemption") or {}).get("grace", 30.0))  # type: ignore[attr-defined]
        stop = desired["stop"]
        if stop is not None:
            self._stop_all(attempt, stop["reason"], stop["grace_seconds"])
        elif rebooted and not attempt.tasks:
            self._end_missing(attempt, "task_lost", "the machine was started anew")
        elif len(attempt.tasks) < attempt.task_count and not attempt.fetching:
            failed = next((task for task in attempt.tasks.values() if task.ended and not task.succeeded), None)
            if failed is not None:
                self._end_missing(attempt, "sibling_failed", f"rank {failed.rank} ended before this one could start")
            elif not self.refuses_starts:
                self._begin(attempt, desired)

    def _unwant(self, attempt: Attempt) -> None:
        """The control plane does not know it any more: stop it, then forget it."""
        self._forget_unreported(attempt)
        self._stop_all(attempt, _UNWANTED, 0.0)
        self._remove_if_done(attempt)

    def _forget(self, id: str) -> None:
        attempt = self._attempts.get(id)
        if attempt is not None and attempt.ended:
            attempt.forgotten = True
            self._dirty.discard(id)
            self._remove_if_done(attempt)

    def _abandon(self, attempt: Attempt) -> None:
        self._forget_unreported(attempt)
        attempt.abandoned = True
        self._dirty.discard(attempt.id)
        self._stop_all(attempt, "lease_expired", LEASE_GRACE_SECONDS)
        self._remove_if_done(attempt)

    def _forget_unreported(self, attempt: Attempt) -> None:
        """Nobody wants its report, so an end of its log that was to come with that is told by itself."""
        attempt.forgotten = True
        for task in attempt.tasks.values():
            if task.printed_nothing:
                task.printed_nothing = False
                key = task_key(attempt.id, task.rank)
                self._logs_sent.discard(key)
                self._logs_ended(key, attempt.id, task.rank, 0)

    # Starting --------------------------------------------------------------------------------------------------------

    def _begin(self, attempt: Attempt, desired: DesiredAttempt) -> None:
        digest = desired["spec"].get("workdir")
        if not digest:
            self._start(attempt, desired, None)
            return
        attempt.fetching = True

        def fetched(path: str | None, message: str | None) -> None:
            with self._lock:
                attempt.fetching = False
                if attempt.ended or attempt.abandoned or attempt.forgotten:
                    return
                if path is None:
                    self._end_missing(attempt, "workdir_failed", message)
                else:
                    self._start(attempt, desired, path)

        self._fetch(desired["project"], str(digest), fetched)

    def _start(self, attempt: Attempt, desired: DesiredAttempt, workdir: str | None) -> None:
        """Start all ranks that have not been started; the executor refuses those that were."""
        if self.refuses_starts or self._executor is None:
            return
        attempt.master_port = attempt.master_port or self._ports.take()
        placed = [(part, rank) for part in desired["placement"] for rank in range(*part["ranks"]) if rank not in attempt.tasks]
        for part, rank in placed:
            attempt.tasks[rank] = Task(rank)
            attempt.tasks[rank].node = part["node"]
        devices: dict[int, list[str] | None] = {}
        try:
            for part, rank in placed:
                chosen = part["devices"][rank - part["ranks"][0]] if "devices" in part else None
                devices[rank] = self._devices.take(part["node"], part["amounts"], chosen)
                attempt.tasks[rank].devices = devices[rank] or []
            requests = self._maker.make(
                desired,
                ranks=list(devices),
                epoch=attempt.epoch,
                master_port=attempt.master_port,
                workdir=workdir,
                devices=devices,
            )
        except (LookupError, TypeError, ValueError) as error:
            why = str(error) if isinstance(error, CannotRun) else f"the job cannot be run here: {error!r}"
            for _, rank in placed:
                self._end(attempt, attempt.tasks[rank], ended_unseen("start_failed", why))
            return
        for request in requests:
            reach("core.before_start")
            self._executor.start(request)
        reach("core.after_starts")

    # Stopping --------------------------------------------------------------------------------------------------------

    def stop_everything(self, reason: str) -> None:
        """Stop all tasks with the grace that their jobs give, and start no more."""
        with self._lock:
            self.refuses_starts = True
            for attempt in self._attempts.values():
                self._stop_all(attempt, reason, attempt.grace_seconds)

    def _stop_all(self, attempt: Attempt, reason: str, grace_seconds: float) -> None:
        self._end_missing(attempt, reason, None)
        for task in attempt.tasks.values():
            self._stop(attempt, task, reason, grace_seconds)

    def _stop(self, attempt: Attempt, task: Task, reason: str, grace_seconds: float) -> None:
        if task.ended or self._executor is None:
            return
        end_at = time.monotonic() + grace_seconds
        if task.told_to_stop is not None and task.told_to_stop[1] <= end_at + 0.05:
            return
        task.stop_reason = task.stop_reason or reason
        try:
            self._executor.stop(task_key(attempt.id, task.rank), reason, grace_seconds)
        except OSError:  # a full disk: asked again at the next tick
            return
        task.told_to_stop = (reason, end_at)

    def tick(self) -> None:
        """Ask again for stops that could not be written."""
        with self._lock:
            for attempt in self._attempts.values():
                for task in attempt.tasks.values():
                    if task.stop_reason is not None and task.told_to_stop is None and not task.ended:
                        self._stop(attempt, task, task.stop_reason, attempt.grace_seconds)

    def _end_missing(self, attempt: Attempt, reason: str, message: str | None) -> None:
        """Ranks that were never started end without having been."""
        for rank in range(attempt.task_count):
            if rank not in attempt.tasks:
                task = attempt.tasks[rank] = Task(rank)
                self._logs_sent.add(task_key(attempt.id, rank))
                self._end(attempt, task, ended_unseen(reason, message))

    # What tasks say --------------------------------------------------------------------------------------------------

    def take_event(self, key: str, event: str, value: dict[str, Any] | None) -> None:
        """One event of the executor."""
        id, rank = parse_task_key(key)
        with self._lock:
            attempt = self._attempts.get(id)
            task = attempt.tasks.get(rank) if attempt is not None else None
            if attempt is None or task is None or task.ended:
                return
            if event == "started" and value is not None:
                task.started_at = value["started_at"]
            elif event == "ended" and value is not None:
                self._end(attempt, task, value)
            elif event == "progress":
                attempt.progress = value
                self._touch(attempt, urgent=False)
            elif (event == "running" and task.advance("running")) or (event == "stopping" and task.advance("stopping")):
                if event == "stopping" and value is not None:
                    task.stop_reason = value["reason"]
                self._touch(attempt, urgent=False)

    def _end(self, attempt: Attempt, task: Task, result: dict[str, Any]) -> None:
        if task.ended:
            return
        task.result = result
        task.advance("ended")
        self._devices.give_back(task.node, task.devices)
        if result.get("progress") is not None:
            attempt.progress = result["progress"]
        if not task.succeeded and attempt.task_count > 1:
            reason = "checkpointed" if result["reason"] == "checkpointed" else "sibling_failed"
            for sibling in list(attempt.tasks.values()):
                if sibling.stop_reason is None:
                    self._stop(attempt, sibling, reason, attempt.grace_seconds)
        self._touch(attempt)
        key = task_key(attempt.id, task.rank)
        if key not in self._logs_sent:
            if result.get("log_bytes") == 0 and attempt.task_count == 1 and not attempt.forgotten:
                task.printed_nothing = True
                self._logs_sent.add(key)
            else:
                self._logs_ended(key, attempt.id, task.rank, result.get("log_bytes"))
        self._remove_if_done(attempt)

    def logs_sent(self, key: str) -> None:
        """The control plane has all of a task's output, or never will."""
        id, _ = parse_task_key(key)
        with self._lock:
            self._logs_sent.add(key)
            attempt = self._attempts.get(id)
            if attempt is not None:
                self._remove_if_done(attempt)

    def _remove_if_done(self, attempt: Attempt) -> None:
        if not (attempt.forgotten and attempt.ended) or attempt.id not in self._attempts:
            return
        keys = [task_key(attempt.id, rank) for rank in attempt.tasks]
        if not self._logs_sent.issuperset(keys) or self._executor is None:
            return
        del self._attempts[attempt.id]
        self._dirty.discard(attempt.id)
        self._done[attempt.id] = None
        while len(self._done) > REMEMBERED_LIMIT:
            del self._done[next(iter(self._done))]
        self._logs_sent.difference_update(keys)
        self._executor.remove(keys)

    # What the control plane is told ----------------------------------------------------------------------------------

    def _touch(self, attempt: Attempt, *, urgent: bool = True) -> None:
        if attempt.abandoned or (attempt.forgotten and attempt.ended):
            return
        attempt.version = self._versions.next()
        self._dirty.add(attempt.id)
        self._changed(urgent)

    def has_news(self) -> bool:
        return bool(self._dirty)

    def reports(self, *, everything: bool = False) -> list[AttemptReport]:
        """What has changed since it was last answered, or all there is."""
        with self._lock:
            ids = [id for id, attempt in self._attempts.items() if not attempt.abandoned] if everything else list(self._dirty)
            return [self._attempts[id].report() for id in ids if id in self._attempts]

    def answered(self, reports: Sequence[AttemptReport]) -> None:
        """These reports have arrived."""
        with self._lock:
            for report in reports:
                attempt = self._attempts.get(report["id"])
                if attempt is not None and attempt.version == report["report_version"]:
                    self._dirty.discard(attempt.id)
