"""What a call can raise: the tree of `bushel.domain.errors`, and what only a client can meet.

Guarantees: a refusal of the API comes out as the type whose `code` it carries, with the API's own words, fix and request
id. Imported when something goes wrong, not before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bushel.client.context import NoContext
from bushel.client.http1 import NotConnected, ProtocolViolation, TimedOut, TransportFailure
from bushel.domain.errors import (
    BushelError,
    Conflict,
    FieldProblem,
    Forbidden,
    Gone,
    InvalidDocument,
    KeyReused,
    NotFound,
    QuotaExceeded,
    StaleEpoch,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

__all__ = [
    "BushelError",
    "Conflict",
    "FieldProblem",
    "Forbidden",
    "Gone",
    "InvalidDocument",
    "JobCancelled",
    "JobFailed",
    "KeyReused",
    "LogStreamLost",
    "NoContext",
    "NotFound",
    "QuotaExceeded",
    "Refused",
    "StaleEpoch",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "Unreachable",
    "of_answer",
    "of_code",
    "of_failure",
]


class Unreachable(BushelError):
    """Bushel was not reached, or the connection broke and did not come back."""

    code = "unreachable"


class Refused(BushelError):
    """A refusal with a code that this version does not know, or a fault of the server."""

    code = "refused"


class LogStreamLost(BushelError):
    """A log stream broke before its end and could not be taken up again. `resume` is where to go on."""

    code = "log_stream_lost"

    def __init__(self, message: str, *, resume: str | None, suggestion: str | None = None) -> None:
        super().__init__(message, suggestion=suggestion)
        self.resume = resume


class _JobEnded(BushelError):
    """`job` is the job as it ended."""

    def __init__(self, message: str, job: Mapping[str, Any]) -> None:
        super().__init__(message, suggestion=f"bushel describe {job['metadata']['id']}")
        self.job = job


class JobFailed(_JobEnded):
    """A job that was waited for failed."""

    code = "job_failed"


class JobCancelled(_JobEnded):
    """A job that was waited for was cancelled."""

    code = "job_cancelled"


_BY_CODE: dict[str, type[BushelError]] = {
    kind.code: kind
    for kind in (Conflict, Forbidden, Gone, KeyReused, NotFound, QuotaExceeded, StaleEpoch, TooLarge, Unauthenticated, Unavailable)
}
_BY_STATUS: dict[int, type[BushelError]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    413: TooLarge,
    429: QuotaExceeded,
    503: Unavailable,
}


def of_answer(status: int, headers: Mapping[str, str], body: bytes) -> BushelError:
    """The error that a refusing answer stands for. `error.problem` is what was sent, empty if that was no problem document."""
    problem = _problem(headers, body)
    if body and not problem:
        return foreign_answer(status)
    code = _text(problem, "code") or ""
    detail = _text(problem, "detail") or _text(problem, "title") or f"the server answered {status}"
    suggestion = _text(problem, "suggestion")
    listed = problem.get("problems")
    problems = [
        FieldProblem(
            pointer=_text(one, "pointer") or "",
            message=_text(one, "message") or "",
            code=_text(one, "code") or "invalid",
            suggestion=_text(one, "suggestion"),
        )
        for one in (listed if isinstance(listed, list) else [])
        if isinstance(one, dict)
    ]
    if status == 422 and code == "invalid_document":
        return _with_problem(InvalidDocument(problems or [FieldProblem(_text(problem, "pointer") or "", detail)], detail), problem)
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status) or Refused
    if kind is Refused and problem.get("request_id"):
        detail = f"{detail} (request {problem['request_id']})"
    return _with_problem(kind(detail, suggestion=suggestion), problem)


def of_code(code: str, message: str, suggestion: str | None = None) -> BushelError:
    """The error that the server names by its code alone, in the middle of a stream."""
    return (_BY_CODE.get(code) or Refused)(message, suggestion=suggestion)


def foreign_answer(status: int) -> BushelError:
    """The error that an answer stands for which Bushel does not give: a proxy's page, another service."""
    return Unreachable(
        f"what answers is not Bushel: an answer of status {status} in another form", suggestion="see if the address is right"
    )


def of_failure(failure: TransportFailure, url: str) -> BushelError:
    """The error that a broken exchange with `url` stands for."""
    if isinstance(failure, NotConnected):
        return Unreachable(f"cannot reach Bushel at {failure}", suggestion="bushel up")
    if isinstance(failure, TimedOut):
        return Unreachable(f"Bushel at {url} did not answer in time", suggestion="bushel doctor")
    if isinstance(failure, ProtocolViolation):
        return Unreachable(f"what answers at {url} is not Bushel: {failure}")
    return Unreachable(f"the connection to Bushel at {url} broke: {failure}")


def _problem(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    if "json" not in headers.get("content-type", ""):
        return {}
    try:
        problem = json.loads(body)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) and isinstance(problem.get("code"), str) else {}


def _text(document: Mapping[str, Any], name: str) -> str | None:
    value = document.get(name)
    return value if isinstance(value, str) and value else None


def _with_problem(error: BushelError, problem: dict[str, Any]) -> BushelError:
    error.problem = problem  # type: ignore[attr-defined]
    return error
