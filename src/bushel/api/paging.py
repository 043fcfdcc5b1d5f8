"""Pages of lists: opaque tokens that hold the key of the last row, so a page costs the same however far it is."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query

from bushel.domain.errors import FieldProblem, InvalidDocument

Limit = Annotated[int, Query(ge=1, le=1000, description="Most items on the page.")]
Page = Annotated[str | None, Query(max_length=1000, description="`next_page` of the page before.")]

T = TypeVar("T")


def encode_page(key: Sequence[str | int]) -> str:
    return base64.urlsafe_b64encode(json.dumps(list(key)).encode()).decode().rstrip("=")


def decode_page(page: str | None, *kinds: type) -> list[Any] | None:
    """The key in a page token, of values of `kinds`; None for the first page.

    Raises:
        InvalidDocument: it is no token of this list.
    """
    if page is None:
        return None
    try:
        key = json.loads(base64.b64decode(page.encode() + b"=" * (-len(page) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        key = None
    if (
        not isinstance(key, list)
        or [type(part) for part in key] != list(kinds)
        or any("\0" in part for part in key if isinstance(part, str))
        or any(abs(part) > 2**62 for part in key if isinstance(part, int))
    ):
        raise InvalidDocument([FieldProblem("/query/page", "not a page of this list. Leave it out to begin again")])
    return key


def cut(
    rows: list[dict[str, Any]], limit: int, key: Callable[[dict[str, Any]], Sequence[str | int]]
) -> tuple[list[dict[str, Any]], str | None]:
    """Of `limit + 1` rows that were asked for: those of this page, and the token of the next if there is one."""
    page = rows[:limit]
    return page, encode_page(key(page[-1])) if len(rows) > limit else None
