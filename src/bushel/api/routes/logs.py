"""The output of tasks: agents bring it, people read and follow it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool

from bushel.api.authentication import CurrentAgent, CurrentPrincipal
from bushel.api.dependencies import CurrentDatabase, CurrentSettings
from bushel.api.log_follow import Follower, Progress, Wanted
from bushel.api.problems import responses
from bushel.api.routes.jobs import JobReference, Project
from bushel.api.settings import Settings
from bushel.api.sse import EventStreamResponse
from bushel.api.streams import CurrentHub, job_topic, log_topic
from bushel.control.jobs import find_job
from bushel.control.logs import Chunk, accept
from bushel.domain.errors import FieldProblem, Forbidden, InvalidDocument, NotFound, TooLarge
from bushel.domain.principal import Principal
from bushel.spec import logs as spec
from bushel.spec.fields import split_array
from bushel.store import log_streams
from bushel.store.database import Transaction
from bushel.store.logs import LogFolder, LogId, last_records, select_output

router = APIRouter(tags=["logs"])

PAGE_BYTES = 1024 * 1024
MOST_PAGE_BYTES = 8 * 1024 * 1024
_LONGEST_HEADER_BYTES = 1024 * 1024
_LARGEST = 2**31 - 1

Index = Annotated[int | None, Query(ge=0, le=_LARGEST, description="Which index of an array.")]
Attempt = Annotated[int | None, Query(ge=1, le=_LARGEST, description="Which attempt; the newest if left out.")]
Rank = Annotated[int | None, Query(ge=0, le=_LARGEST, description="Which rank of a gang.")]
Stream = Annotated[spec.OutputStream | None, Query(description="Only what was written there.")]

_batch = TypeAdapter(spec.LogBatchHeader)


@router.post(
    "/agent/logs",
    responses=responses(),
    response_model=spec.LogAnswer,
    openapi_extra={"requestBody": {"required": True, "content": {spec.CONTENT_TYPE: {"schema": {"type": "string", "format": "binary"}}}}},
)
async def bring_logs(request: Request, agent: CurrentAgent, database: CurrentDatabase, settings: CurrentSettings, hub: CurrentHub) -> Any:
    """Records of tasks of this agent's cluster: one line of JSON, then the bytes. See `bushel.spec.logs` for the form."""
    if agent.cluster_id is None:
        raise Forbidden("this token speaks for no cluster")
    chunks = _chunks(await request.body())
    accepted = await run_in_threadpool(accept, database, _folder(settings), agent.cluster_id, chunks)
    hub.notify({*map(log_topic, accepted.grown), *map(job_topic, accepted.ended)})
    return {"ends": accepted.ends}


@router.get(
    "/jobs/{job}/logs",
    responses={**responses(), 200: {"description": "Records, as they were written.", "content": {"text/plain": {}}}},
    response_class=Response,
)
def read_logs(
    job: JobReference,
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    settings: CurrentSettings,
    project: Project = None,
    index: Index = None,
    attempt: Attempt = None,
    rank: Annotated[int, Query(ge=0, le=_LARGEST)] = 0,
    stream: Stream = None,
    offset: Annotated[int, Query(ge=0, le=2**62, description="Where to begin, in bytes of the log.")] = 0,
    limit_bytes: Annotated[int, Query(ge=1, le=MOST_PAGE_BYTES)] = PAGE_BYTES,
    tail: Annotated[int | None, Query(ge=0, le=100_000, description="Only this many of the newest records, instead of `offset`.")] = None,
) -> Any:
    """A page of the output of one task, also long after it ended. The headers say where the next page begins."""
    with database.transaction() as tx:
        wanted = _wanted(tx, principal, job, project, index, attempt, rank, stream)
        found = log_streams.element(tx, wanted.job_id, wanted.index, attempt=attempt).attempt
    if found is None or rank >= found.ranks:
        if attempt is not None or found is not None:
            raise NotFound("there is no such attempt or rank")
        return _page(b"", 0, 0, ended=False)
    folder, log = _folder(settings), LogId(wanted.job_id, wanted.index, found.number, rank)
    ended_bytes = found.ended_sizes.get(rank)
    if tail is None:
        page = folder.read(log, offset, limit_bytes, ended_bytes)
        data = select_output(page.data, stream)
    else:
        size = folder.state(log).size_bytes
        page = folder.read(log, max(0, size - limit_bytes), limit_bytes, ended_bytes)
        cut = page.data.find(b"\n") + 1 if page.offset else 0
        data = last_records(select_output(page.data[cut:], stream), tail)
    answer = _page(data, page.next_offset, page.state.size_bytes, ended=rank in found.ended_sizes)
    if page.state.dropped is not None:
        answer.headers[spec.DROPPED_HEADER] = "{}-{}".format(*page.state.dropped)
    return answer


@router.get(
    "/jobs/{job}/logs/follow",
    responses={**responses(), 200: {"description": "Server-sent events; see `bushel.spec.logs`.", "content": {"text/event-stream": {}}}},
    response_class=EventStreamResponse,
)
async def follow_logs(
    request: Request,
    job: JobReference,
    principal: CurrentPrincipal,
    database: CurrentDatabase,
    settings: CurrentSettings,
    hub: CurrentHub,
    project: Project = None,
    index: Index = None,
    attempt: Attempt = None,
    rank: Rank = None,
    stream: Stream = None,
    resume_from: Annotated[str | None, Query(alias="from", max_length=4000, description="The `id` of the last message that came.")] = None,
    last_event_id: Annotated[str | None, Header(max_length=4000)] = None,
) -> Any:
    """Output as it is written, of every rank, attempt after attempt, until the job can print nothing more: then `event: end`."""
    progress = Progress.parse(mark) if (mark := last_event_id or resume_from) else Progress()

    def begin() -> tuple[Follower, log_streams.FollowedElement]:
        with database.transaction() as tx:
            wanted = _wanted(tx, principal, job, project, index, attempt, rank, stream)
        follower = Follower(request, database, _folder(settings), hub, wanted, progress)
        return follower, follower.look()

    follower, element = await run_in_threadpool(begin)
    return EventStreamResponse(follower.messages(element))


def _wanted(
    tx: Transaction,
    principal: Principal,
    reference: str,
    project: str | None,
    index: int | None,
    attempt: int | None,
    rank: int | None,
    stream: str | None,
) -> Wanted:
    job = find_job(tx, principal, reference, project)
    indices = split_array(job["spec"]["array"])[0] if "array" in job["spec"] else None
    if indices is not None and index is None:
        raise InvalidDocument([FieldProblem("/query/index", f"it is an array of {job['element_count']}: say which index")])
    if index is not None and index not in (indices or (0,)):
        raise NotFound(f"{reference} has no index {index}")
    return Wanted(job["id"], job["project"], index or 0, attempt, rank, stream)


def _folder(settings: Settings) -> LogFolder:
    return LogFolder(settings.state_folder / "logs")


def _page(data: bytes, next_offset: int, size_bytes: int, *, ended: bool) -> Response:
    headers = {
        spec.NEXT_OFFSET_HEADER: str(next_offset),
        spec.SIZE_HEADER: str(size_bytes),
        spec.ENDED_HEADER: "true" if ended else "false",
    }
    return Response(data, media_type="text/plain", headers=headers)


def _chunks(body: bytes) -> list[Chunk]:
    """
    Raises:
        InvalidDocument: the body is not of the form.
        TooLarge: it is past one of the limits.
    """
    header, newline, _ = body[:_LONGEST_HEADER_BYTES].partition(b"\n")
    if not newline:
        raise _malformed("", "it begins with one line of JSON")
    try:
        described = _batch.validate_json(header)["streams"]
    except ValidationError as error:
        fault = error.errors()[0]
        raise _malformed("".join(f"/{part}" for part in fault["loc"]), fault["msg"]) from error
    if len(described) > spec.MOST_STREAMS or len(body) > spec.MOST_BATCH_BYTES + _LONGEST_HEADER_BYTES:
        raise TooLarge(f"at most {spec.MOST_STREAMS} chunks and {spec.MOST_BATCH_BYTES} bytes in one request")
    position, chunks = len(header) + 1, []
    for number, chunk in enumerate(described):
        if min(chunk["rank"], chunk["offset"], chunk["length"]) < 0 or max(chunk["offset"], chunk["length"]) > 2**62:
            raise _malformed(f"/streams/{number}", "a number is out of its range")
        data = body[position : position + chunk["length"]]
        if len(data) < chunk["length"]:
            raise _malformed(f"/streams/{number}/length", "there are fewer bytes than that")
        chunks.append(Chunk(chunk["attempt"], chunk["rank"], chunk["offset"], data, chunk["ended"]))
        position += chunk["length"]
    if position != len(body):
        raise _malformed("", "there are more bytes than the lengths add up to")
    return chunks


def _malformed(pointer: str, text: str) -> InvalidDocument:
    return InvalidDocument([FieldProblem(pointer, text)])
