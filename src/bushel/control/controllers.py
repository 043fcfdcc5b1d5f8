"""The table of controllers: what runs, what wakes it, how often it looks by itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from bushel.control import backoff, dependencies, leases, retention
from bushel.control.elements import DEPENDENCIES
from bushel.control.runner import Controller, Step
from bushel.store.database import Database
from bushel.store.leases import Lease


def controllers(state_folder: Path) -> list[Controller]:
    """Everything that the leader runs."""
    del state_folder
    return [
        Controller("leases", _stateless(leases.step), poll_seconds=1.0),
        Controller("backoff", _stateless(backoff.step), poll_seconds=0.5),
        Controller("dependencies", _stateless(dependencies.step), poll_seconds=1.0, topics=frozenset({DEPENDENCIES})),
        Controller("retention", retention.start, poll_seconds=3600.0),
    ]


def _stateless(step: Callable[[Database, Lease], int]) -> Callable[[Database, Lease], Step]:
    """A controller that keeps nothing in memory between its steps."""
    return lambda database, lease: partial(step, database, lease)
