"""Uploads by content: ask whether it is there, send it if not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Path, Request, Response
from starlette.concurrency import run_in_threadpool
from typing_extensions import TypedDict

from bushel.api.authentication import CurrentPrincipal
from bushel.api.dependencies import CurrentDatabase, CurrentSettings
from bushel.api.job_views import answer
from bushel.api.problems import responses
from bushel.control import blobs as control
from bushel.domain.principal import Principal
from bushel.store.archives import check_archive
from bushel.store.blobs import BlobFolder, Incoming
from bushel.store.database import Database


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    await run_in_threadpool(BlobFolder(app.state.settings.state_folder).remove_abandoned)
    yield


router = APIRouter(tags=["blobs"], lifespan=_lifespan)

Project = Annotated[str, Path(max_length=255, description="The project's path, acme/research/vision.")]
Digest = Annotated[str, Path(pattern="^sha256:[0-9a-f]{64}$", description="SHA-256 of the content.")]

_WRITE_BYTES = 1024 * 1024

_ARCHIVE = {"requestBody": {"required": True, "content": {"application/gzip": {"schema": {"type": "string", "format": "binary"}}}}}


class BlobView(TypedDict):
    digest: str
    size_bytes: int


@router.head("/projects/{project:path}/blobs/{digest}", status_code=200, responses=responses())
def has_blob(project: Project, digest: Digest, principal: CurrentPrincipal, database: CurrentDatabase) -> Response:
    """Whether this content was uploaded to the project: 200 or 404."""
    with database.transaction() as tx:
        found = control.find_blob(tx, principal, project, digest)
    return Response(status_code=200, headers={"X-Blob-Size": str(found["size_bytes"])})


@router.put(
    "/projects/{project:path}/blobs/{digest}",
    status_code=201,
    responses={**responses(), 200: {"model": BlobView, "description": "It was there already"}, 201: {"model": BlobView}},
    openapi_extra=_ARCHIVE,
)
async def put_blob(
    project: Project, digest: Digest, request: Request, principal: CurrentPrincipal, database: CurrentDatabase, settings: CurrentSettings
) -> Any:
    """Upload a `tar.gz` of a folder. Sending it again changes nothing."""
    project_id = await run_in_threadpool(_project, database, principal, project)
    folder = BlobFolder(settings.state_folder)
    with folder.incoming() as incoming:
        await _receive(request, incoming)

        def keep() -> bool:
            incoming.verify(digest)
            check_archive(incoming.path)
            return control.keep_blob(database, folder, principal, incoming, path=project, project_id=project_id, digest=digest)

        added = await run_in_threadpool(keep)
        return answer({"digest": digest, "size_bytes": incoming.size_bytes}, 201 if added else 200)


def _project(database: Database, principal: Principal, path: str) -> int:
    with database.transaction() as tx:
        return control.project_for_upload(tx, principal, path)


async def _receive(request: Request, incoming: Incoming) -> None:
    """The body, written a megabyte at a time."""
    waiting: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        waiting.append(chunk)
        size += len(chunk)
        if size >= _WRITE_BYTES:
            await run_in_threadpool(incoming.write, b"".join(waiting))
            waiting, size = [], 0
    if waiting:
        await run_in_threadpool(incoming.write, b"".join(waiting))
