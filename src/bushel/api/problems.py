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
from bushel.spec.problems import MOST_PROBLEMS, FieldsAt, detail_problems

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
_DETAILS = {404: "there is nothing at {path}", 405: "{path} cannot be asked to {method}"}
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


ANY_ROUTE = (401, 403, 404, 408, 413, 415, 422, 503)
"""What any route may refuse with."""


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documented refusals of a route: `statuses` and those that any route has."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in sorted({*statuses, *ANY_ROUTE})}


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
        return of_error(_request_id(request), InvalidDocument(_field_problems(request, error)))

    async def http(request: Request, error: Any) -> JSONResponse:
        if error.status_code == 400:  # the one that FastAPI raises, for a body that is no text
            return of_error(_request_id(request), InvalidDocument([FieldProblem("", "cannot be read as JSON in UTF-8", "invalid_json")]))
        status = error.status_code
        detail = _DETAILS.get(status, str(error.detail)).format(method=request.method, path=request.url.path[:200])
        response = problem_response(_request_id(request), status, _CODES.get(status, "refused"), detail)
        response.headers.update(error.headers or {})
        return response

    app.add_exception_handler(BushelError, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)


def _request_id(request: Request) -> str | None:
    return getattr(request.state, "request_id", None)


def _field_problems(request: Request, error: RequestValidationError) -> list[FieldProblem]:
    secret = request.url.path.startswith("/v1/secrets")
    problems: list[FieldProblem] = []
    for detail in error.errors()[:MOST_PROBLEMS]:
        where, *place = detail["loc"]
        if detail["type"] == "json_invalid":
            problems.append(FieldProblem("", f"not JSON: {detail['ctx']['error']} at character {place[0]}", "invalid_json"))
            continue
        shown = {**detail, "loc": tuple(place), "input": "…" if secret else detail.get("input")}
        prefix = () if where == "body" else (where,)
        problems += detail_problems([shown], _fields_at(request) if where == "body" else {}, prefix)
    return problems


def _fields_at(request: Request) -> FieldsAt:
    """The fields of the document that the route takes, for suggestions."""
    body = getattr(request.scope.get("route"), "body_field", None)
    fields: dict[tuple[str, ...], list[str]] = {}
    waiting: list[tuple[tuple[str, ...], Any]] = [((), body.field_info.annotation if body else None)]
    while waiting:
        place, kind = waiting.pop()
        if isinstance(kind, type) and issubclass(kind, BaseModel) and len(place) < 8:
            fields[place] = [field.alias or name for name, field in kind.model_fields.items()]
            waiting += [((*place, name), field.annotation) for name, field in kind.model_fields.items()]
    return fields
