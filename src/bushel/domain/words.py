"""Words for people that every layer writes alike."""

from __future__ import annotations


def plural(count: int, one: str, many: str | None = None) -> str:
    """`1 node`, `3 nodes`, `12,000 nodes`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
