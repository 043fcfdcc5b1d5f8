"""`AsyncClient`: everything that the API can do, for asyncio. The twin of `Client`, with the same surface.

Guarantees: belongs to one event loop; a cancelled call leaves nothing half-read behind; every call has a time-out.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bushel import __version__
from bushel.client.async_caller import AsyncCaller
from bushel.client.async_futures import AsyncJobFuture, AsyncWatcher
from bushel.client.async_streams import follow
from bushel.client.bound import AsyncCall, AsyncEvery
from bushel.client.context import Context, resolve
from bushel.client.errors import LogStreamLost, of_code, of_failure
from bushel.client.http1 import TransportFailure
from bushel.client.log_records import LogNotice, LogRecord, read_log_event
from bushel.client.operations import datasets, events, fleet, jobs, logs, tenancy
from bushel.client.pipeline_resources import AsyncPipelines
from bushel.client.requests import document_of, folder_to_upload, map_document
from bushel.client.uploads import choose_project
from bushel.client.workdir import pack

if TYPE_CHECKING:
    from bushel.spec.job import JobDocument
    from bushel.spec.platform_views import EventView
    from bushel.spec.views import JobView


class _Resource:
    def __init__(self, caller: AsyncCaller) -> None:
        self._caller = caller


class AsyncJobs(_Resource):
    list = AsyncEvery(jobs.list_page)
    get = AsyncCall(jobs.get)
    attempts = AsyncEvery(jobs.attempts_page)
    explain = AsyncCall(jobs.explain)
    estimate = AsyncCall(jobs.estimate)
    estimate_document = AsyncCall(jobs.estimate_document)
    history = AsyncEvery(jobs.history_page)
    cancel = AsyncCall(jobs.cancel)
    cancel_many = AsyncCall(jobs.cancel_many)
    hold = AsyncCall(jobs.hold)
    release = AsyncCall(jobs.release)
    retry = AsyncCall(jobs.retry)


class AsyncQueues(_Resource):
    list = AsyncEvery(tenancy.queues_page)
    get = AsyncCall(tenancy.get_queue)
    tree = AsyncCall(tenancy.queue_tree)
    create = AsyncCall(tenancy.create_queue)
    change = AsyncCall(tenancy.change_queue)
    delete = AsyncCall(tenancy.delete_queue)


class AsyncSites(_Resource):
    list = AsyncEvery(fleet.sites_page)
    create = AsyncCall(fleet.create_site)


class AsyncClusters(_Resource):
    list = AsyncEvery(fleet.clusters_page)
    get = AsyncCall(fleet.get_cluster)
    create = AsyncCall(fleet.create_cluster)
    delete = AsyncCall(fleet.delete_cluster)
    prices = AsyncCall(fleet.get_prices)
    set_prices = AsyncCall(fleet.set_prices)


class AsyncNodes(_Resource):
    list = AsyncEvery(fleet.nodes_page)
    get = AsyncCall(fleet.get_node)
    cordon = AsyncCall(fleet.cordon)
    uncordon = AsyncCall(fleet.uncordon)
    plan_maintenance = AsyncCall(fleet.plan_maintenance)
    end_maintenance = AsyncCall(fleet.end_maintenance)


class AsyncScopes(_Resource):
    list = AsyncEvery(tenancy.scopes_page)
    get = AsyncCall(tenancy.get_scope)
    create = AsyncCall(tenancy.create_scope)
    change = AsyncCall(tenancy.change_scope)
    delete = AsyncCall(tenancy.delete_scope)


class AsyncPrincipals(_Resource):
    list = AsyncEvery(tenancy.principals_page)
    get = AsyncCall(tenancy.get_principal)
    create = AsyncCall(tenancy.create_principal)
    enrol = AsyncCall(tenancy.enrol_principal)
    disable = AsyncCall(tenancy.disable_principal)
    enable = AsyncCall(tenancy.enable_principal)


class AsyncRoles(_Resource):
    list = AsyncEvery(tenancy.roles_page)
    grant = AsyncCall(tenancy.grant_role)
    remove = AsyncCall(tenancy.remove_role)


class AsyncTokens(_Resource):
    list = AsyncEvery(tenancy.tokens_page)
    create = AsyncCall(tenancy.create_token)
    revoke = AsyncCall(tenancy.revoke_token)


class AsyncSecrets(_Resource):
    list = AsyncEvery(tenancy.secrets_page)
    put = AsyncCall(tenancy.put_secret)
    delete = AsyncCall(tenancy.delete_secret)


class AsyncDatasets(_Resource):
    list = AsyncEvery(datasets.datasets_page)
    get = AsyncCall(datasets.get_dataset)
    put = AsyncCall(datasets.put_dataset)
    versions = AsyncEvery(datasets.versions_page)
    version = AsyncCall(datasets.get_version)
    commit = AsyncCall(datasets.commit_version)
    delete_version = AsyncCall(datasets.delete_version)
    parts = AsyncEvery(datasets.parts_page)
    diff = AsyncCall(datasets.diff)
    lineage = AsyncCall(datasets.lineage)
    lineage_events = AsyncEvery(datasets.lineage_events_page)
    pin = AsyncCall(datasets.pin)
    unpin = AsyncCall(datasets.unpin)
    pins = AsyncEvery(datasets.pins_page)


class AsyncStorage(_Resource):
    list = AsyncEvery(datasets.places_page)
    put = AsyncCall(datasets.put_place)
    delete = AsyncCall(datasets.delete_place)


class AsyncClient:
    """Bushel, for asyncio. Use in `async with`, or await `close`."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        context: str | Context | None = None,
        *,
        project: str | None = None,
        patience_seconds: float = 15.0,
    ) -> None:
        """As `Client`.

        Raises:
            NoContext: nothing says where Bushel is.
        """
        found = context if isinstance(context, Context) else resolve(url=url, token=token, context=context)
        self.project = project or found.project
        self._caller = AsyncCaller(found, patience_seconds=patience_seconds, user_agent=f"bushel-python/{__version__}")
        self._watcher = AsyncWatcher(self._caller)
        self.jobs = AsyncJobs(self._caller)
        self.queues = AsyncQueues(self._caller)
        self.sites = AsyncSites(self._caller)
        self.clusters = AsyncClusters(self._caller)
        self.nodes = AsyncNodes(self._caller)
        self.scopes = AsyncScopes(self._caller)
        self.principals = AsyncPrincipals(self._caller)
        self.roles = AsyncRoles(self._caller)
        self.tokens = AsyncTokens(self._caller)
        self.secrets = AsyncSecrets(self._caller)
        self.pipelines = AsyncPipelines(self._caller)
        self.datasets = AsyncDatasets(self._caller)
        self.storage = AsyncStorage(self._caller)

    whoami = AsyncCall(tenancy.whoami)
    audit = AsyncEvery(tenancy.audit_page)
    explain = AsyncCall(jobs.explain)
    events_page = AsyncCall(events.events_page)

    # Submitting -------------------------------------------------------------------------------------------------------

    async def submit(
        self, document: JobDocument | Mapping[str, Any] | None = None, /, *, idempotency_key: str | None = None, **fields: Any
    ) -> AsyncJobFuture:
        """As `Client.submit`."""
        value = await self._uploaded(document_of(document, fields))
        return AsyncJobFuture(self, await self._caller.call(jobs.submit(value, project=self.project, idempotency_key=idempotency_key)))

    async def submit_many(
        self, documents: Sequence[JobDocument | Mapping[str, Any]], *, idempotency_key: str | None = None
    ) -> list[AsyncJobFuture]:
        """As `Client.submit_many`."""
        values = [await self._uploaded(dict(document)) for document in documents]
        made = await self._caller.call(jobs.submit_many(values, project=self.project, idempotency_key=idempotency_key))
        return [AsyncJobFuture(self, job) for job in made["items"]]

    async def map(
        self, run: str | Sequence[str], items: range | int | Sequence[Any], *, at_most: int | None = None, **fields: Any
    ) -> AsyncJobFuture:
        """As `Client.map`."""
        document, extra = map_document(run, items, at_most, fields)
        if extra:
            document["workdir"] = await self._upload(document, folder_to_upload(document), extra)
        return await self.submit(document)

    async def dry_run(self, document: JobDocument | Mapping[str, Any] | None = None, /, **fields: Any) -> JobView:
        """As `Client.dry_run`."""
        value = await self._uploaded(document_of(document, fields))
        return await self._caller.call(jobs.submit(value, project=self.project, dry_run=True))

    async def future(self, job: str) -> AsyncJobFuture:
        """As `Client.future`."""
        return AsyncJobFuture(self, await self.jobs.get(job, project=self.project))

    # Following --------------------------------------------------------------------------------------------------------

    async def logs(
        self,
        job: str,
        *,
        index: int | None = None,
        attempt: int | None = None,
        rank: int | None = None,
        stream: str | None = None,
        resume: str | None = None,
        on_notice: Callable[[LogNotice], object] = lambda _: None,
    ) -> AsyncIterator[LogRecord]:
        """As `Client.logs`."""
        source = logs.follow_logs(job, index=index, attempt=attempt, rank=rank, stream=stream, resume=resume)
        try:
            async for event in follow(self._caller, source):
                for found in read_log_event(event):
                    if isinstance(found, LogRecord):
                        yield found
                    elif found.kind == "refused":
                        raise of_code(found.data["code"], found.data["message"], found.data.get("suggestion"))
                    elif found.kind == "end" and not found.data.get("complete", True):
                        raise LogStreamLost(f"some of the output of {job} was never received", resume=source.last_event_id)
                    else:
                        on_notice(found)
        except TransportFailure as failure:
            raise LogStreamLost(f"the output of {job} broke off: {failure}", resume=source.last_event_id) from failure

    async def watch(
        self, *, scope: str | None = None, job: str | None = None, kinds: Sequence[str] = (), after: str | None = None
    ) -> AsyncIterator[EventView]:
        """As `Client.watch`."""
        source = events.watch(scope=scope, job=job, kinds=kinds, after=after)
        try:
            async for event in follow(self._caller, source):
                told = json.loads(event.data)
                if event.event == "refused":
                    raise of_code(told["code"], told["message"], told.get("suggestion"))
                yield told
        except TransportFailure as failure:
            raise of_failure(failure, self._caller.context.url) from failure

    async def wait(
        self, futures: Iterable[AsyncJobFuture], timeout: float | None = None
    ) -> tuple[set[AsyncJobFuture], set[AsyncJobFuture]]:
        """As `Client.wait`."""
        every = set(futures)
        ended = await asyncio.gather(*(future.wait(timeout) for future in every))
        done = {future for future, has in zip(every, ended, strict=True) if has}
        return done, every - done

    async def as_completed(self, futures: Iterable[AsyncJobFuture], timeout: float | None = None) -> AsyncIterator[AsyncJobFuture]:
        """The futures in the order in which their jobs end.

        Raises:
            TimeoutError: not all have ended in time.
        """
        tasks = {asyncio.create_task(self._watcher.ended(future)): future for future in set(futures)}
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        try:
            while tasks:
                left = None if deadline is None else max(0.0, deadline - loop.time())
                done, _ = await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    raise TimeoutError(f"{len(tasks)} jobs have not ended within {timeout} s")
                for task in done:
                    task.result()
                    yield tasks.pop(task)
        finally:
            for task in tasks:
                task.cancel()

    # ------------------------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Close the connections."""
        await self._watcher.close()
        self._caller.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _uploaded(self, document: dict[str, Any]) -> dict[str, Any]:
        folder = folder_to_upload(document)
        return document if folder is None else {**document, "workdir": await self._upload(document, folder, {})}

    async def _upload(self, document: Mapping[str, Any], folder: str | None, extra: Mapping[str, bytes]) -> str:
        project = document.get("project") or self.project
        if project is None:
            project = choose_project([scope["path"] async for scope in self.scopes.list() if scope["kind"] == "project"])
        packed = await asyncio.to_thread(lambda: pack(folder, extra=extra))
        with packed.file:
            await self._caller.upload(project, packed)
        return packed.digest
