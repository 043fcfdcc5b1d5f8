"""Refusals at the edge: every error is an RFC 9457 problem, whatever raised it.

Guarantees: `application/problem+json` with a stable `code` for unknown routes, wrong methods, bodies that break their
schema, and refusals of ours alike. Faults are answered by `limits`.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from bushel.domain.errors import BushelError, FieldProblem, InvalidDocument

MEDIA_TYPE = "application/problem+json"

STATUS = {
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "stale_epoch": 409,
    "gone": 410,
    "too_large": 413,
    "invalid_document": 422,
    "idempotency_key_reused": 422,
    "quota_exceeded": 429,
    "unavailable": 503,
    "disk_full": 503,
}
"""Error code → HTTP status; what is not here is a fault of ours, 500."""

_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported_media_type", 422: "invalid_document"}
_RETRY_AFTER_SECONDS = {429: "5", 503: "1"}


class FieldProblemView(BaseModel):
    """One thing wrong with one field."""

    pointer: str
    code: str
    message: str
    suggestion: str | None = None


class Problem(BaseModel):
    """RFC 9457, with a stable `code` and, where one is known, the fix."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    pointer: str | None = None
    suggestion: str | None = None
    problems: list[FieldProblemView] = []
    request_id: str | None = None


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documented refusals of a route, beside those that any route has (401, 403, 404, 413, 415, 422, 503)."""
    return {
        status: {"model": Problem, "description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {}}}
        for status in sorted({*statuses, 401, 403, 404, 413, 415, 422, 503})
    }


def problem_response(
    request_id: str | None,
    status: int,
    code: str,
    detail: str,
    *,
    suggestion: str | None = None,
    problems: Sequence[FieldProblem] = (),
) -> JSONResponse:
    """The answer for one refusal."""
    body: dict[str, Any] = {
        "type": f"urn:bushel:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }
    if problems:
        body["pointer"] = problems[0].pointer
        body["problems"] = [{"pointer": p.pointer, "code": p.code, "message": p.message, "suggestion": p.suggestion} for p in problems]
    if suggestion:
        body["suggestion"] = suggestion
    if request_id:
        body["request_id"] = request_id
    headers = {}
    if status in _RETRY_AFTER_SECONDS:
        headers["Retry-After"] = _RETRY_AFTER_SECONDS[status]
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, status_code=status, headers=headers, media_type=MEDIA_TYPE)


def of_error(request_id: str | None, error: BushelError) -> JSONResponse:
    """The problem that `error` is."""
    problems = error.problems if isinstance(error, InvalidDocument) else ()
    return problem_response(
        request_id, STATUS.get(error.code, 500), error.code, error.message, suggestion=error.suggestion, problems=problems
    )


def install(app: FastAPI) -> None:
    """Turn everything that a route can raise into a problem."""

    async def refused(request: Request, error: Any) -> JSONResponse:
        return of_error(_request_id(request), error)

    async def invalid(request: Request, error: Any) -> JSONResponse:
        return of_error(_request_id(request), InvalidDocument(_field_problems(error)))

    async def http(request: Request, error: Any) -> JSONResponse:
        status = 422 if error.status_code == 400 else error.status_code
        response = problem_response(_request_id(request), status, _CODES.get(status, "refused"), str(error.detail))
        response.headers.update(error.headers or {})
        return response

    app.add_exception_handler(BushelError, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)


def _request_id(request: Request) -> str | None:
    return getattr(request.state, "request_id", None)


def _field_problems(error: RequestValidationError) -> list[FieldProblem]:
    problems = []
    for fault in error.errors():
        where, *rest = fault["loc"]
        inside = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in rest)
        pointer = inside if where == "body" else f"/{where}{inside}"
        problems.append(FieldProblem(pointer, str(fault["msg"]), code=str(fault["type"])))
    return problems
