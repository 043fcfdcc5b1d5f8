"""What a task was told, and a stand-in for it where there is no platform."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class NotTold(LookupError):
    """The task was not told of what it asks for."""


def told(variable: str) -> dict[str, Any]:
    """The JSON object in an environment variable; nothing where it is not set."""
    text = os.environ.get(variable, "").strip()
    document = json.loads(text) if text else {}
    if not isinstance(document, dict):
        raise NotTold(f"{variable} is no JSON object")
    return document


def named(variable: str, name: str, what: str) -> dict[str, Any]:
    """
    Raises:
        NotTold: the task has nothing of that name.
    """
    known = told(variable)
    if name not in known:
        names = ", ".join(sorted(known)) or "none"
        raise NotTold(f"this task has no {what} {name!r}; it has {names}")
    return known[name]


def site() -> str | None:
    """Where this task runs; None outside of a task."""
    return os.environ.get("BUSHEL_SITE") or None


def made_by() -> dict[str, Any]:
    """Which attempt this is."""
    values = {"job": "BUSHEL_JOB_ID", "site": "BUSHEL_SITE", "cluster": "BUSHEL_CLUSTER"}
    numbers = {"index": "BUSHEL_TASK_INDEX", "attempt": "BUSHEL_ATTEMPT"}
    told_texts = {name: os.environ[variable] for name, variable in values.items() if os.environ.get(variable)}
    told_numbers = {name: int(os.environ[variable]) for name, variable in numbers.items() if os.environ.get(variable, "").isdecimal()}
    return told_texts | told_numbers


_cache: tempfile.TemporaryDirectory[str] | None = None


def cache_folder() -> Path:
    """For what is fetched; gone when this process ends."""
    global _cache
    if _cache is None:
        _cache = tempfile.TemporaryDirectory(prefix="bushel-data-", dir=os.environ.get("BUSHEL_DATA_CACHE"))
    return Path(_cache.name)


@contextmanager
def local(folder: str | Path, outputs: Mapping[str, str], inputs: Mapping[str, Any] | None = None, **variables: str) -> Iterator[Path]:
    """Run what is written for a task without a platform: a folder is the place of all `outputs` (output → data set).

    `inputs` are as a task is told of them. Afterwards the result lies in `result.json` of the folder, which the block is given.
    """
    place = Path(folder).resolve()
    place.mkdir(parents=True, exist_ok=True)
    told_place = {"name": "local", "url": str(place), "sites": [], "jurisdiction": "", "options": {}, "secrets": {}}
    given = {
        "BUSHEL_OUTPUTS": json.dumps({name: {"dataset": dataset, "places": [told_place]} for name, dataset in outputs.items()}),
        "BUSHEL_INPUTS": json.dumps(dict(inputs or {})),
        "BUSHEL_RESULT_FILE": str(place / "result.json"),
        **variables,
    }
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield place
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
