"""A command that was used wrongly in a way that its parser cannot see."""

from __future__ import annotations


class Wrong(Exception):
    """Ends with the exit code for wrong use."""

    def __init__(self, message: str, *, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.suggestion = suggestion
