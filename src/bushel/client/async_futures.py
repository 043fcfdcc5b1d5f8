"""Jobs as futures that can be awaited: the twin of `futures`, with the same promises, for one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from typing import TYPE_CHECKING, Any

from bushel.client.async_streams import follow
from bushel.client.errors import of_failure
from bushel.client.futures import RECHECK_SECONDS
from bushel.client.http1 import TransportFailure
from bushel.client.operations import events, jobs
from bushel.client.outcomes import TERMINAL_KINDS, ended_job, failure_of, has_ended

if TYPE_CHECKING:
    from bushel.client.async_caller import AsyncCaller
    from bushel.client.async_client import AsyncClient
    from bushel.client.errors import JobCancelled, JobFailed
    from bushel.client.log_records import LogRecord
    from bushel.spec.views import JobView


class AsyncJobFuture:
    """A job that was submitted; `await` it for its result. `job` is what was last seen of it."""

    def __init__(self, client: AsyncClient, job: JobView) -> None:
        self._client = client
        self.job = job

    @property
    def id(self) -> str:
        return str(self.job["metadata"]["id"])

    @property
    def name(self) -> str:
        return self.job["metadata"]["name"]

    def __repr__(self) -> str:
        return f"<AsyncJobFuture {self.id} {self.name} {self.job['status']['state']}>"

    def __await__(self) -> Generator[Any, None, JobView]:
        return self.result().__await__()

    async def refresh(self) -> JobView:
        """Ask for the job as it is now."""
        if not has_ended(self.job):
            self.job = await self._client._caller.call(jobs.get(self.id))
        return self.job

    async def done(self) -> bool:
        """Whether it has ended, by asking."""
        return has_ended(await self.refresh())

    async def running(self) -> bool:
        return (await self.refresh())["status"]["state"] in ("starting", "running", "stopping")

    async def cancelled(self) -> bool:
        return (await self.refresh())["status"]["state"] == "cancelled"

    async def cancel(self, *, indices: str | None = None, message: str | None = None) -> JobView:
        """Tell it to stop. Whether it then is cancelled or ended first, its result says."""
        self.job = await self._client._caller.call(jobs.cancel(self.id, indices=indices, message=message))
        return self.job

    async def wait(self, timeout: float | None = None) -> bool:
        """Until it has ended, or `timeout` seconds have passed; whether it has ended."""
        try:
            await asyncio.wait_for(self._client._watcher.ended(self), timeout)
        except TimeoutError:
            return has_ended(self.job)
        return True

    async def result(self, timeout: float | None = None) -> JobView:
        """The job as it ended.

        Raises:
            JobFailed: it failed.
            JobCancelled: it was cancelled.
            TimeoutError: it has not ended in time.
        """
        failure = await self.exception(timeout)
        if failure is not None:
            raise failure
        return self.job

    async def exception(self, timeout: float | None = None) -> JobFailed | JobCancelled | None:
        """What `result` would raise; None if it succeeded.

        Raises:
            TimeoutError: it has not ended in time.
        """
        if not await self.wait(timeout):
            raise TimeoutError(f"{self.name} ({self.id}) has not ended within {timeout} s")
        return failure_of(self.job)

    def logs(self, **which: Any) -> AsyncIterator[LogRecord]:
        """As `AsyncClient.logs`."""
        return self._client.logs(self.id, **which)


class AsyncWatcher:
    """One task that hears of the ends of all jobs that are waited for."""

    def __init__(self, caller: AsyncCaller) -> None:
        self._caller = caller
        self._heard: dict[str, asyncio.Event] = {}
        self._task: asyncio.Task[None] | None = None
        self._watching = asyncio.Event()

    async def ended(self, future: AsyncJobFuture) -> None:
        """Return when the job has ended.

        Raises:
            BushelError: Bushel was not reached any more.
        """
        while not has_ended(future.job):
            heard = self._heard.setdefault(future.id, asyncio.Event())
            task = self._ensure_watching()
            await self._first(self._watching.wait(), task)
            if has_ended(await future.refresh()):
                break
            try:
                await asyncio.wait_for(self._first(heard.wait(), task), RECHECK_SECONDS)
            except TimeoutError:
                continue
            heard.clear()
        self._heard.pop(future.id, None)

    def _ensure_watching(self) -> asyncio.Task[None]:
        if self._task is None or self._task.done():
            self._watching.clear()
            self._task = asyncio.create_task(self._run(), name="bushel watcher")
        return self._task

    async def _first(self, awaited: Any, task: asyncio.Task[None]) -> None:
        """Wait for `awaited`, but not longer than the watching task lives."""
        waiting = asyncio.ensure_future(awaited)
        try:
            await asyncio.wait({waiting, task}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                task.result()
        finally:
            waiting.cancel()

    async def _run(self) -> None:
        try:
            position = (await self._caller.call(events.events_page(newest_first=True, limit=1)))["position"]
            self._watching.set()
            async for event in follow(self._caller, events.watch(kinds=TERMINAL_KINDS, after=position)):
                job_id = ended_job(event)
                if job_id in self._heard:
                    self._heard[job_id].set()
        except TransportFailure as failure:
            raise of_failure(failure, self._caller.context.url) from failure

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            if not self._task.cancelled():
                self._task.exception()
