"""Jobs as futures: in the manner of `concurrent.futures`.

Guarantees: a wait returns soon after the job has ended, for any number of jobs over one connection; it rides over restarts of
Bushel for as long as the client's patience lasts and then raises, never hangs; every wait takes a time-out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from bushel.client.errors import BushelError, of_failure
from bushel.client.http1 import TransportFailure
from bushel.client.operations import events, jobs
from bushel.client.outcomes import TERMINAL_KINDS, ended_job, failure_of, has_ended
from bushel.client.streams import follow

if TYPE_CHECKING:
    from bushel.client.caller import Caller
    from bushel.client.errors import JobCancelled, JobFailed
    from bushel.client.log_records import LogRecord
    from bushel.client.sync_client import Client
    from bushel.spec.views import JobView

RECHECK_SECONDS = 30.0
"""How often a waited-for job is asked for, in case its event may not be seen."""

IDLE_SECONDS = 30.0
"""The watching thread ends when nothing was waited for this long."""

_TICK_SECONDS = 1.0


class JobFuture:
    """A job that was submitted. `job` is what was last seen of it."""

    def __init__(self, client: Client, job: JobView) -> None:
        self._client = client
        self.job = job

    @property
    def id(self) -> str:
        return str(self.job["metadata"]["id"])

    @property
    def name(self) -> str:
        return self.job["metadata"]["name"]

    def __repr__(self) -> str:
        return f"<JobFuture {self.id} {self.name} {self.job['status']['state']}>"

    def refresh(self) -> JobView:
        """Ask for the job as it is now."""
        if not has_ended(self.job):
            self.job = self._client._caller.call(jobs.get(self.id))
        return self.job

    def done(self) -> bool:
        """Whether it has ended, by asking."""
        return has_ended(self.refresh())

    def running(self) -> bool:
        return self.refresh()["status"]["state"] in ("starting", "running", "stopping")

    def cancelled(self) -> bool:
        return self.refresh()["status"]["state"] == "cancelled"

    def cancel(self, *, indices: str | None = None, message: str | None = None) -> JobView:
        """Tell it to stop. Whether it then is cancelled or ended first, its result says."""
        self.job = self._client._caller.call(jobs.cancel(self.id, indices=indices, message=message))
        return self.job

    def wait(self, timeout: float | None = None) -> bool:
        """Until it has ended, or `timeout` seconds have passed; whether it has ended."""
        return not self._client._watcher.wait([self], timeout, all_of_them=True)

    def result(self, timeout: float | None = None) -> JobView:
        """The job as it ended.

        Raises:
            JobFailed: it failed.
            JobCancelled: it was cancelled.
            TimeoutError: it has not ended in time.
        """
        failure = self.exception(timeout)
        if failure is not None:
            raise failure
        return self.job

    def exception(self, timeout: float | None = None) -> JobFailed | JobCancelled | None:
        """What `result` would raise; None if it succeeded.

        Raises:
            TimeoutError: it has not ended in time.
        """
        if not self.wait(timeout):
            raise TimeoutError(f"{self.name} ({self.id}) has not ended within {timeout} s")
        return failure_of(self.job)

    def logs(self, **which: Any) -> Iterator[LogRecord]:
        """As `Client.logs`."""
        return self._client.logs(self.id, **which)

    def add_done_callback(self, call: Callable[[JobFuture], object]) -> None:
        """Call it once the job has ended, from a thread of the client's."""

        def await_end() -> None:
            self.wait()
            call(self)

        threading.Thread(target=await_end, name=f"bushel callback {self.id}", daemon=True).start()


class Watcher:
    """One thread that hears of the ends of all jobs that are waited for."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._changed = threading.Condition()
        self._ended: set[str] = set()
        self._waiters = 0
        self._thread: threading.Thread | None = None
        self._failure: BushelError | None = None
        self._watching = False
        self._closed = False

    def wait(self, futures: Iterable[JobFuture], timeout: float | None, *, all_of_them: bool) -> set[JobFuture]:
        """Those that have not ended when all, or the first, of them have, or when time is up.

        Raises:
            BushelError: Bushel was not reached any more.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pending = {future for future in futures if not has_ended(future.job)}
        if not pending:
            return pending
        with self._changed:
            self._waiters += 1
            self._ensure_watching()
        try:
            return self._wait(pending, deadline, all_of_them=all_of_them)
        finally:
            with self._changed:
                self._waiters -= 1

    def _wait(self, pending: set[JobFuture], deadline: float | None, *, all_of_them: bool) -> set[JobFuture]:
        count = len(pending)
        look_at = pending  # once each, now that their ends are listened for
        while True:
            for future in look_at:
                future.refresh()
            pending = {future for future in pending if not has_ended(future.job)}
            if not pending or (not all_of_them and len(pending) < count):
                return pending
            ids = {future.id for future in pending}
            left = RECHECK_SECONDS if deadline is None else min(RECHECK_SECONDS, deadline - time.monotonic())
            if left <= 0:
                return pending
            with self._changed:
                heard = self._changed.wait_for(lambda ids=ids: self._failure is not None or not ids.isdisjoint(self._ended), left)
                if self._failure is not None:
                    raise self._failure
                look_at = {future for future in pending if future.id in self._ended} if heard else pending

    def close(self) -> None:
        self._closed = True

    def _ensure_watching(self) -> None:
        """Return when ends are heard of; the lock is held."""
        if self._thread is None or not self._thread.is_alive():
            self._failure, self._watching = None, False
            self._thread = threading.Thread(target=self._run, name="bushel watcher", daemon=True)
            self._thread.start()
        self._changed.wait_for(lambda: self._watching or self._failure is not None)
        if self._failure is not None:
            failure, self._thread = self._failure, None
            raise failure

    def _run(self) -> None:
        try:
            position = self._caller.call(events.events_page(newest_first=True, limit=1))["position"]
            with self._changed:
                self._watching = True
                self._changed.notify_all()
            idle_since = time.monotonic()
            for event in follow(self._caller, events.watch(kinds=TERMINAL_KINDS, after=position), tick_seconds=_TICK_SECONDS):
                with self._changed:
                    if self._waiters:
                        idle_since = time.monotonic()
                    if self._closed or time.monotonic() - idle_since > IDLE_SECONDS:
                        self._thread = None
                        return
                    job_id = None if event is None else ended_job(event)
                    if job_id is not None:
                        self._ended.add(job_id)
                        self._changed.notify_all()
        except TransportFailure as failure:
            self._fail(of_failure(failure, self._caller.context.url))
        except BushelError as error:
            self._fail(error)

    def _fail(self, error: BushelError) -> None:
        with self._changed:
            self._failure = error
            self._changed.notify_all()


def as_completed(futures: Iterable[JobFuture], timeout: float | None = None) -> Iterator[JobFuture]:
    """The futures in the order in which their jobs end.

    Raises:
        TimeoutError: not all have ended in time.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    pending = set(futures)
    total = len(pending)
    while pending:
        ended = {future for future in pending if has_ended(future.job)}
        if not ended:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            still = next(iter(pending))._client._watcher.wait(pending, left, all_of_them=False)
            ended = pending - still
            if not ended:
                raise TimeoutError(f"{len(pending)} of {total} jobs have not ended within {timeout} s")
        pending -= ended
        yield from sorted(ended, key=lambda future: future.job["status"]["ended_at"] or "")


def wait(futures: Iterable[JobFuture], timeout: float | None = None) -> tuple[set[JobFuture], set[JobFuture]]:
    """Those that have ended, and those that have not, when all have or time is up."""
    every = set(futures)
    if not every:
        return set(), set()
    pending = next(iter(every))._client._watcher.wait(every, timeout, all_of_them=True)
    return every - pending, pending
