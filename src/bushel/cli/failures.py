"""What went wrong, in words and as an exit code."""

from __future__ import annotations

from bushel.cli import exits
from bushel.cli.mistakes import Wrong
from bushel.cli.session import Session
from bushel.client.context import NoContext
from bushel.client.errors import InvalidDocument, LogStreamLost
from bushel.domain.errors import BushelError

_EXITS = {
    "invalid_document": exits.USAGE,
    "too_large": exits.USAGE,
    "idempotency_key_reused": exits.CONFLICT,
    "unreachable": exits.UNREACHABLE,
    "unavailable": exits.UNREACHABLE,
    "unauthenticated": exits.AUTHENTICATION,
    "forbidden": exits.AUTHENTICATION,
    "not_found": exits.NOT_FOUND,
    "gone": exits.NOT_FOUND,
    "conflict": exits.CONFLICT,
    "stale_epoch": exits.CONFLICT,
    "quota_exceeded": exits.QUOTA,
    "job_failed": exits.JOB_FAILED,
    "job_cancelled": exits.JOB_CANCELLED,
}


def report(error: Exception, session: Session) -> int:
    """Say it on stderr; gives the exit code."""
    message, suggestion, code = _explain(error, session)
    session.note(session.paint("error: ", "red", stream=session.err) + message)
    if suggestion:
        session.note(_as_advice(suggestion))
    return code


def exit_code(error: BushelError) -> int:
    return _EXITS.get(error.code, exits.ERROR)


def _explain(error: Exception, session: Session) -> tuple[str, str | None, int]:
    if isinstance(error, InvalidDocument):
        lines = [f"{_dotted(problem.pointer)}{problem.message}" for problem in error.problems]
        return "\n       ".join(lines), None if len(lines) > 1 else error.suggestion, exits.USAGE
    if isinstance(error, LogStreamLost):
        return f"{error.message}; what was shown may not be all", error.suggestion, exits.ERROR
    if isinstance(error, BushelError):
        suggestion = error.suggestion
        if error.code == "unauthenticated":
            suggestion = (
                f"the token came from {session.context.token_source}" if session.context.token else "bushel context add, or BUSHEL_TOKEN"
            )
        return error.message, suggestion, exit_code(error)
    if isinstance(error, NoContext):
        return str(error), "bushel up, or bushel context add NAME --url URL", exits.UNREACHABLE
    if isinstance(error, Wrong):
        return str(error), error.suggestion, exits.USAGE
    if isinstance(error, ValueError):
        return str(error), None, exits.USAGE
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return where + (error.strerror or str(error)).lower(), None, exits.ERROR
    from bushel.storage.place import PlaceError  # only here: few commands ever load what reads stores

    if isinstance(error, PlaceError):
        return str(error), "bushel storage ls", exits.ERROR
    return f"{type(error).__name__}: {error}", "BUSHEL_DEBUG=1 shows where; please report it", exits.ERROR


def _dotted(pointer: str) -> str:
    """`/resources/gpu` as `resources.gpu: `."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    if parts[:1] in (["path"], ["query"]):  # of the request's address: people wrote it on the command line
        parts = parts[1:]
    return ".".join(parts) + ": " if parts else ""


def _as_advice(suggestion: str) -> str:
    if suggestion.startswith(("bushel ", "--")):
        return f"Try: {suggestion}"
    return suggestion[:1].upper() + suggestion[1:]
