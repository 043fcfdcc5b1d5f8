"""The table of controllers: what runs, what wakes it, how often it looks by itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from bushel.control import advance, backoff, dataset_keeping, dependencies, disk_retention, leases, queue_history, retention, schedule
from bushel.control.dataset_commit import DATASETS
from bushel.control.elements import DEPENDENCIES, PIPELINES
from bushel.control.runner import Controller, Step
from bushel.store.database import SCHEDULE, Database
from bushel.store.leases import Lease


def _without_memory(step: Callable[[Database, Lease], int]) -> Callable[[Database, Lease], Step]:
    """For a controller that keeps nothing between two steps."""
    return lambda database, lease: partial(step, database, lease)


def controllers(state_folder: Path, lease_seconds: float) -> tuple[Controller, ...]:
    """Everything that the leader runs, where agents are given leases of `lease_seconds`."""
    return (
        *_CONTROLLERS,
        Controller("leases", partial(leases.start, lease_seconds), poll_seconds=1.0),
        Controller("disk", partial(disk_retention.start, state_folder), poll_seconds=3600.0),
        Controller("datasets", partial(dataset_keeping.start, state_folder), poll_seconds=2.0, topics=frozenset({DATASETS})),
    )


_CONTROLLERS = (
    Controller("schedule", schedule.start, poll_seconds=1.0, topics=frozenset({SCHEDULE}), gather_seconds=0.005),
    Controller("backoff", _without_memory(backoff.step), poll_seconds=0.5),
    Controller("dependencies", _without_memory(dependencies.step), poll_seconds=1.0, topics=frozenset({DEPENDENCIES})),
    Controller("pipelines", advance.start, poll_seconds=1.0, topics=frozenset({PIPELINES}), gather_seconds=0.01),
    Controller("history", _without_memory(queue_history.step), poll_seconds=queue_history.PERIOD_SECONDS),
    Controller("retention", _without_memory(retention.step), poll_seconds=3600.0),
)
