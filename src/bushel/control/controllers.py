"""The table of controllers: what runs, what wakes it, how often it looks by itself."""

from __future__ import annotations

from pathlib import Path

from bushel.control import retention
from bushel.control.runner import Controller


def controllers(state_folder: Path) -> list[Controller]:
    """Everything that the leader runs."""
    del state_folder
    return [
        Controller("retention", retention.start, poll_seconds=3600.0),
    ]
