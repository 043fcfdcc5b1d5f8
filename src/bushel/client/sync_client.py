"""`Client`: everything that the API can do, for programs that wait for answers.

Guarantees: may be shared by threads; every call has a time-out and raises the `BushelError` that its refusal stands for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bushel import __version__
from bushel.client.bound import Call, Every
from bushel.client.caller import Caller
from bushel.client.context import Context, resolve
from bushel.client.errors import LogStreamLost, of_code, of_failure
from bushel.client.futures import JobFuture, Watcher
from bushel.client.http1 import TransportFailure
from bushel.client.log_records import LogNotice, LogRecord, read_log_event
from bushel.client.operations import datasets, events, fleet, jobs, logs, tenancy
from bushel.client.pipeline_resources import Pipelines
from bushel.client.requests import document_of, folder_to_upload, map_document
from bushel.client.streams import follow
from bushel.client.uploads import only_project, upload
from bushel.client.workdir import pack

if TYPE_CHECKING:
    from bushel.spec.job import JobDocument
    from bushel.spec.platform_views import EventView
    from bushel.spec.views import JobView


class _Resource:
    def __init__(self, caller: Caller) -> None:
        self._caller = caller


class Jobs(_Resource):
    list = Every(jobs.list_page)
    get = Call(jobs.get)
    attempts = Every(jobs.attempts_page)
    explain = Call(jobs.explain)
    estimate = Call(jobs.estimate)
    estimate_document = Call(jobs.estimate_document)
    history = Every(jobs.history_page)
    cancel = Call(jobs.cancel)
    cancel_many = Call(jobs.cancel_many)
    hold = Call(jobs.hold)
    release = Call(jobs.release)
    retry = Call(jobs.retry)


class Queues(_Resource):
    list = Every(tenancy.queues_page)
    get = Call(tenancy.get_queue)
    tree = Call(tenancy.queue_tree)
    create = Call(tenancy.create_queue)
    change = Call(tenancy.change_queue)
    delete = Call(tenancy.delete_queue)


class Sites(_Resource):
    list = Every(fleet.sites_page)
    create = Call(fleet.create_site)


class Clusters(_Resource):
    list = Every(fleet.clusters_page)
    get = Call(fleet.get_cluster)
    create = Call(fleet.create_cluster)
    delete = Call(fleet.delete_cluster)
    prices = Call(fleet.get_prices)
    set_prices = Call(fleet.set_prices)


class Nodes(_Resource):
    list = Every(fleet.nodes_page)
    get = Call(fleet.get_node)
    cordon = Call(fleet.cordon)
    uncordon = Call(fleet.uncordon)
    plan_maintenance = Call(fleet.plan_maintenance)
    end_maintenance = Call(fleet.end_maintenance)


class Scopes(_Resource):
    list = Every(tenancy.scopes_page)
    get = Call(tenancy.get_scope)
    create = Call(tenancy.create_scope)
    change = Call(tenancy.change_scope)
    delete = Call(tenancy.delete_scope)


class Principals(_Resource):
    list = Every(tenancy.principals_page)
    get = Call(tenancy.get_principal)
    create = Call(tenancy.create_principal)
    enrol = Call(tenancy.enrol_principal)
    disable = Call(tenancy.disable_principal)
    enable = Call(tenancy.enable_principal)


class Roles(_Resource):
    list = Every(tenancy.roles_page)
    grant = Call(tenancy.grant_role)
    remove = Call(tenancy.remove_role)


class Tokens(_Resource):
    list = Every(tenancy.tokens_page)
    create = Call(tenancy.create_token)
    revoke = Call(tenancy.revoke_token)


class Secrets(_Resource):
    list = Every(tenancy.secrets_page)
    put = Call(tenancy.put_secret)
    delete = Call(tenancy.delete_secret)


class Datasets(_Resource):
    list = Every(datasets.datasets_page)
    get = Call(datasets.get_dataset)
    put = Call(datasets.put_dataset)
    versions = Every(datasets.versions_page)
    version = Call(datasets.get_version)
    commit = Call(datasets.commit_version)
    delete_version = Call(datasets.delete_version)
    parts = Every(datasets.parts_page)
    diff = Call(datasets.diff)
    lineage = Call(datasets.lineage)
    lineage_events = Every(datasets.lineage_events_page)
    pin = Call(datasets.pin)
    unpin = Call(datasets.unpin)
    pins = Every(datasets.pins_page)


class Storage(_Resource):
    list = Every(datasets.places_page)
    put = Call(datasets.put_place)
    delete = Call(datasets.delete_place)


class Client:
    """Bushel, for programs. Use in `with`, or call `close`."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        context: str | Context | None = None,
        *,
        project: str | None = None,
        patience_seconds: float = 15.0,
    ) -> None:
        """Without arguments: the Bushel that the command line would talk to. `project`: where jobs go that name none.

        Raises:
            NoContext: nothing says where Bushel is.
        """
        found = context if isinstance(context, Context) else resolve(url=url, token=token, context=context)
        self.project = project or found.project
        self._caller = Caller(found, patience_seconds=patience_seconds, user_agent=f"bushel-python/{__version__}")
        self._watcher = Watcher(self._caller)
        self.jobs = Jobs(self._caller)
        self.queues = Queues(self._caller)
        self.sites = Sites(self._caller)
        self.clusters = Clusters(self._caller)
        self.nodes = Nodes(self._caller)
        self.scopes = Scopes(self._caller)
        self.principals = Principals(self._caller)
        self.roles = Roles(self._caller)
        self.tokens = Tokens(self._caller)
        self.secrets = Secrets(self._caller)
        self.pipelines = Pipelines(self._caller)
        self.datasets = Datasets(self._caller)
        self.storage = Storage(self._caller)

    whoami = Call(tenancy.whoami)
    audit = Every(tenancy.audit_page)
    explain = Call(jobs.explain)
    events_page = Call(events.events_page)

    # Submitting -------------------------------------------------------------------------------------------------------

    def submit(
        self,
        document: JobDocument | Mapping[str, Any] | None = None,
        /,
        *,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> JobFuture:
        """Submit one job: a document, its fields as arguments, or both. `workdir` may be a folder; it is uploaded.

        The same `idempotency_key` with the same document gives the same job again. Without one a key is made up, so that a lost
        answer is asked for again and never makes a second job.
        """
        value = self._uploaded(document_of(document, fields))
        return JobFuture(self, self._caller.call(jobs.submit(value, project=self.project, idempotency_key=idempotency_key)))

    def submit_many(self, documents: Sequence[JobDocument | Mapping[str, Any]], *, idempotency_key: str | None = None) -> list[JobFuture]:
        """Submit up to 10,000 jobs at once: all of them or none."""
        values = [self._uploaded(dict(document)) for document in documents]
        made = self._caller.call(jobs.submit_many(values, project=self.project, idempotency_key=idempotency_key))
        return [JobFuture(self, job) for job in made["items"]]

    def map(self, run: str | Sequence[str], items: range | int | Sequence[Any], *, at_most: int | None = None, **fields: Any) -> JobFuture:
        """Run a command once for each item, as one array of at most `at_most` tasks at a time.

        `items` is a number or a range of indices, or values that JSON can hold; a task finds its value in `BUSHEL_ITEM`, as JSON, and
        its index in `BUSHEL_TASK_INDEX`.
        """
        document, extra = map_document(run, items, at_most, fields)
        if extra:
            document["workdir"] = self._upload(document, folder_to_upload(document), extra)
        return self.submit(document)

    def dry_run(self, document: JobDocument | Mapping[str, Any] | None = None, /, **fields: Any) -> JobView:
        """The job as it would be; nothing is submitted."""
        return self._caller.call(jobs.submit(self._uploaded(document_of(document, fields)), project=self.project, dry_run=True))

    def future(self, job: str) -> JobFuture:
        """The future of a job that was submitted before, by its id or name."""
        return JobFuture(self, self.jobs.get(job, project=self.project))

    # Following --------------------------------------------------------------------------------------------------------

    def logs(
        self,
        job: str,
        *,
        index: int | None = None,
        attempt: int | None = None,
        rank: int | None = None,
        stream: str | None = None,
        resume: str | None = None,
        on_notice: Callable[[LogNotice], object] = lambda _: None,
    ) -> Iterator[LogRecord]:
        """What the job prints, until it has ended; of an array name the `index`.

        `on_notice` is told of records that were dropped for the limit of a log.

        Raises:
            LogStreamLost: the stream broke and could not be taken up again, or its end was never received. `resume` of the error goes on.
        """
        source = logs.follow_logs(job, index=index, attempt=attempt, rank=rank, stream=stream, resume=resume)
        try:
            for event in follow(self._caller, source):
                for found in read_log_event(event) if event is not None else ():
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

    def watch(
        self, *, scope: str | None = None, job: str | None = None, kinds: Sequence[str] = (), after: str | None = None
    ) -> Iterator[EventView]:
        """Events as they become true, for ever; each has the `position` to go on `after`.

        Raises:
            Gone: events behind `after` are no longer kept: list again, and watch from the position of the list.
            Unreachable: the stream broke and could not be taken up again.
        """
        source = events.watch(scope=scope, job=job, kinds=kinds, after=after)
        try:
            for event in follow(self._caller, source):
                if event is None:
                    continue
                told = json.loads(event.data)
                if event.event == "refused":
                    raise of_code(told["code"], told["message"], told.get("suggestion"))
                yield told
        except TransportFailure as failure:
            raise of_failure(failure, self._caller.context.url) from failure

    def wait(self, futures: Iterable[JobFuture], timeout: float | None = None) -> tuple[set[JobFuture], set[JobFuture]]:
        """Those that have ended, and those that have not, when all have or time is up."""
        every = set(futures)
        pending = self._watcher.wait(every, timeout, all_of_them=True)
        return every - pending, pending

    # ------------------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connections; futures that are waited for go on waiting."""
        self._watcher.close()
        self._caller.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _uploaded(self, document: dict[str, Any]) -> dict[str, Any]:
        folder = folder_to_upload(document)
        return document if folder is None else {**document, "workdir": self._upload(document, folder, {})}

    def _upload(self, document: Mapping[str, Any], folder: str | None, extra: Mapping[str, bytes]) -> str:
        project = document.get("project") or self.project or only_project(self._caller)
        packed = pack(folder, extra=extra)
        with packed.file:
            upload(self._caller, project, packed)
        return packed.digest
