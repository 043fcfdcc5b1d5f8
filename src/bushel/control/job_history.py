"""The past of this installation, as the scheduler's models are told of it.

Guarantees: read from the jobs themselves, newest first and bounded, so what it costs does not grow with the age of the installation;
a document that cannot be understood is left out. Nothing is written.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from bushel.domain.resources import GPU_PREFIX
from bushel.scheduling.durations import Kind, quantiles_after
from bushel.scheduling.ends import Remaining, declared_remaining
from bushel.scheduling.entities import LiveAttempt, ShapeClass
from bushel.scheduling.hindsight import CPU, GPU, Hindsight, PastJob, scarce_amount, size_of
from bushel.store.database import Database
from bushel.workloads.compile import compile_job

JOBS_LIMIT = 3000
REACHES_BACK = timedelta(days=30)
_FRESH_SECONDS = 600.0

_HISTORY = """
    select j.id, j.queue_id, j.submitter_id::text as submitter, j.name, j.spec, j.element_count, j.state,
           extract(epoch from j.submitted_at)::double precision as submitted,
           extract(epoch from j.started_at)::double precision as started,
           extract(epoch from j.ended_at)::double precision as ended
    from jobs j where j.started_at is not null and j.submitted_at > now() - %s order by j.id desc limit %s
"""

_CAPACITY = """
    select a.key as resource, sum(a.value::bigint)::bigint as amount
    from nodes n join clusters c on c.id = n.cluster_id and c.removed_at is null, jsonb_each_text(n.capacity) a
    where n.state = 'ready' group by 1
"""

_known: WeakKeyDictionary[Database, tuple[float, Hindsight]] = WeakKeyDictionary()
_lock = threading.Lock()


def hindsight_of(database: Database) -> Hindsight:
    """What this process has learnt from the past, at most ten minutes old."""
    with _lock:
        found = _known.get(database)
        if found is None or time.monotonic() - found[0] > _FRESH_SECONDS:
            found = _known[database] = (time.monotonic(), learn(database))
        return found[1]


def learn(database: Database) -> Hindsight:
    with database.transaction() as tx:
        rows = tx.all(_HISTORY, (REACHES_BACK, JOBS_LIMIT))
        amounts = {row["resource"]: row["amount"] for row in tx.all(_CAPACITY)}
    gpus = sum(amount for name, amount in amounts.items() if name.startswith(GPU_PREFIX))
    return Hindsight([job for row in rows if (job := _past(row)) is not None], {CPU: amounts.get("cpu", 0), GPU: gpus})


def likely_remaining(known: Hindsight, now_seconds: float) -> Remaining:
    """Seconds until attempts are likely to end: by the past of their like, or else by what their documents say."""

    def remaining(attempts: Sequence[LiveAttempt]) -> list[float | None]:
        by_document = declared_remaining(now_seconds)(attempts)
        rows = [row for row, live in enumerate(attempts) if known.durations.knows(live.job_id)]
        if not rows:
            return list(by_document)
        location, scale = known.durations.forecasts([attempts[row].job_id for row in rows])
        served = np.array([max(0.0, now_seconds - attempts[row].started_seconds) for row in rows])
        left = quantiles_after(location, scale, served, np.full(len(rows), 0.5)) - served
        found = list(by_document)
        for row, seconds in zip(rows, left.tolist(), strict=True):
            found[row] = seconds
        return found

    return remaining


def kind_of(queue_id: int, submitter: str, name: str, shape: ShapeClass, declared_seconds: float | None) -> Kind:
    return Kind(queue_id, submitter, name, size_of(shape), declared_seconds)


def declared(spec: dict[str, Any]) -> float | None:
    return float(spec["expected_duration"]) if "expected_duration" in spec else None


def _past(row: dict[str, Any]) -> PastJob | None:
    try:
        shape = compile_job(row["spec"])
    except (LookupError, TypeError, ValueError):
        return None
    what = ShapeClass.of(shape)
    at_once = min(row["element_count"], shape.array_limit or row["element_count"])
    resource, amount = scarce_amount(what, at_once)
    seconds = None
    if row["state"] == "succeeded" and row["ended"] is not None:
        seconds = max(1.0, (row["ended"] - row["started"]) / -(-row["element_count"] // at_once))
    kind = kind_of(row["queue_id"], row["submitter"], row["name"], what, declared(row["spec"]))
    return PastJob(row["id"], kind, resource, amount, row["submitted"], row["started"], row["ended"], seconds)
