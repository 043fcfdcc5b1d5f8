"""Every refusal that a person or a program can meet, as one tree of types.

Guarantees: each error carries a stable `code`, a sentence for people and, where one is known, the fix. They are made
where the fact is known and turned into text or an RFC 9457 problem once, at the edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class BushelError(Exception):
    """The root. `code` is public and never changes its meaning."""

    code = "internal"

    def __init__(self, message: str, *, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.suggestion = suggestion


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One thing wrong with one field. `pointer` is a JSON pointer (RFC 6901) into the document that was sent."""

    pointer: str
    message: str
    code: str = "invalid"
    suggestion: str | None = None


class InvalidDocument(BushelError):
    """The document breaks its schema or a rule between fields; `problems` names every field at fault."""

    code = "invalid_document"

    def __init__(self, problems: Sequence[FieldProblem], message: str | None = None) -> None:
        first = problems[0]
        super().__init__(message or f"{first.pointer or '/'}: {first.message}", suggestion=first.suggestion)
        self.problems = tuple(problems)


class TooLarge(BushelError):
    """A body, a batch, an archive or a name is past its stated limit."""

    code = "too_large"


class Unauthenticated(BushelError):
    """No token, or one that is unknown, expired or revoked."""

    code = "unauthenticated"


class Forbidden(BushelError):
    """The principal may see the object but not do this to it."""

    code = "forbidden"


class NotFound(BushelError):
    """There is no such object, or the principal may not know that there is."""

    code = "not_found"


class Conflict(BushelError):
    """The object is in a state that does not allow this, or somebody else was first."""

    code = "conflict"


class KeyReused(BushelError):
    """An idempotency key came back with another body."""

    code = "idempotency_key_reused"


class QuotaExceeded(BushelError):
    """A hard limit of a queue would be passed."""

    code = "quota_exceeded"


class StaleEpoch(BushelError):
    """The caller acts under a lease that has passed to somebody else."""

    code = "stale_epoch"


class Gone(BushelError):
    """The position asked for is older than what is kept; list again and watch from the new position."""

    code = "gone"


class Unavailable(BushelError):
    """A part that this needs does not answer; the same request may be sent again."""

    code = "unavailable"


class DiskFull(Unavailable):
    """The volume that should take this has no room; the same request may be sent again when it has."""

    code = "disk_full"
