"""What the commands about people and places share."""

from __future__ import annotations

from bushel.cli.mistakes import Wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from bushel.cli.session import Session
    from bushel.client.operation import Operation


def every(session: Session, define: Callable[[str | None], Operation[Any]]) -> list[dict[str, Any]]:
    """All items of a list, however many pages it has."""
    return list(session.pages(define))


def scope_of(session: Session, given: str | None) -> str:
    """The scope named, or the project in use, or the only project that there is.

    Raises:
        Wrong: there are several.
    """
    scope = given or session.project
    if scope is not None:
        return scope
    from bushel.client.errors import InvalidDocument
    from bushel.client.uploads import only_project

    try:
        return only_project(session.caller)
    except InvalidDocument as error:
        raise Wrong("which scope?", suggestion="--scope PATH, or --project PATH: bushel scope ls shows them") from error
