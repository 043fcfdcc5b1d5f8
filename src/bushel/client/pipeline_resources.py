"""Pipelines for programs: the resource of both clients."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bushel.client.async_caller import AsyncCaller
from bushel.client.bound import AsyncCall, AsyncEvery, Call, Every
from bushel.client.caller import Caller
from bushel.client.operations import pipelines, tenancy
from bushel.client.pipeline_documents import copied, folders, upload_workdirs
from bushel.client.uploads import choose_project
from bushel.client.workdir import pack

if TYPE_CHECKING:
    from bushel.spec.pipeline_views import PipelineView, PlanView


class _Resource:
    def __init__(self, caller: Caller) -> None:
        self._caller = caller


class _AsyncResource:
    def __init__(self, caller: AsyncCaller) -> None:
        self._caller = caller


class Pipelines(_Resource):
    """`apply` and `plan` take folders as `workdir`; they are uploaded."""

    list = Every(pipelines.pipelines_page)
    get = Call(pipelines.get_pipeline)
    versions = Every(pipelines.versions_page)
    diff = Call(pipelines.diff)
    pause_all = Call(pipelines.pause_pipeline)
    resume_all = Call(pipelines.resume_pipeline)
    run = Call(pipelines.run)
    runs = Every(pipelines.runs_page)
    get_run = Call(pipelines.get_run)
    grid = Call(pipelines.grid)
    partitions = Every(pipelines.partitions_page)
    records = Every(pipelines.records_page)
    why = Call(pipelines.why)
    pause = Call(pipelines.pause)
    resume = Call(pipelines.resume)
    cancel = Call(pipelines.cancel)
    rerun = Call(pipelines.rerun)
    approve = Call(pipelines.approve)

    def plan(self, document: Mapping[str, Any], *, project: str | None = None) -> PlanView:
        return self._caller.call(pipelines.plan(self._uploaded(document, project), project=project))

    def apply(self, document: Mapping[str, Any], *, project: str | None = None, idempotency_key: str | None = None) -> PipelineView:
        value = self._uploaded(document, project)
        return self._caller.call(pipelines.apply(value, project=project, idempotency_key=idempotency_key))

    def _uploaded(self, document: Mapping[str, Any], project: str | None) -> dict[str, Any]:
        value = copied(document)
        upload_workdirs(self._caller, value, ".", project)
        return value


class AsyncPipelines(_AsyncResource):
    """`apply` and `plan` take folders as `workdir`; they are uploaded."""

    list = AsyncEvery(pipelines.pipelines_page)
    get = AsyncCall(pipelines.get_pipeline)
    versions = AsyncEvery(pipelines.versions_page)
    diff = AsyncCall(pipelines.diff)
    pause_all = AsyncCall(pipelines.pause_pipeline)
    resume_all = AsyncCall(pipelines.resume_pipeline)
    run = AsyncCall(pipelines.run)
    runs = AsyncEvery(pipelines.runs_page)
    get_run = AsyncCall(pipelines.get_run)
    grid = AsyncCall(pipelines.grid)
    partitions = AsyncEvery(pipelines.partitions_page)
    records = AsyncEvery(pipelines.records_page)
    why = AsyncCall(pipelines.why)
    pause = AsyncCall(pipelines.pause)
    resume = AsyncCall(pipelines.resume)
    cancel = AsyncCall(pipelines.cancel)
    rerun = AsyncCall(pipelines.rerun)
    approve = AsyncCall(pipelines.approve)

    async def plan(self, document: Mapping[str, Any], *, project: str | None = None) -> PlanView:
        return await self._caller.call(pipelines.plan(await self._uploaded(document, project), project=project))

    async def apply(self, document: Mapping[str, Any], *, project: str | None = None, idempotency_key: str | None = None) -> PipelineView:
        value = await self._uploaded(document, project)
        return await self._caller.call(pipelines.apply(value, project=project, idempotency_key=idempotency_key))

    async def _uploaded(self, document: Mapping[str, Any], project: str | None) -> dict[str, Any]:
        value = copied(document)
        for folder, holders in folders(value, ".").items():
            where = document.get("project") or project
            if where is None:
                scopes = self._caller.pages(lambda page: tenancy.scopes_page(page=page))
                where = choose_project([scope["path"] async for scope in scopes if scope["kind"] == "project"])
            packed = await asyncio.to_thread(pack, folder)
            with packed.file:
                await self._caller.upload(where, packed)
            for holder in holders:
                holder["workdir"] = packed.digest
        return value
