"""A command that was used wrongly in a way that its parser cannot see."""

from __future__ import annotations


def at_least_one(text: str) -> int:
    """A number of things to show, as an option has it."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        import argparse

        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


class Wrong(Exception):
    """Ends with the exit code for wrong use."""

    def __init__(self, message: str, *, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.suggestion = suggestion
