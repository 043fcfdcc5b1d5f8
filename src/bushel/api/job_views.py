"""Rows of jobs as the API answers them: `metadata`, `spec`, `status`. The shapes are those of `spec.views`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from fastapi import Response
from pydantic_core import to_json

from bushel.domain.ids import attempt_id, encode_job_id
from bushel.domain.ranges import IndexRanges
from bushel.store import jobs
from bushel.store.database import Transaction

MOST_RANGES = 1000
"""Most ranges of indices that are written out."""

PLACES = ("pending", "delayed", "starting", "running", "stopping", "succeeded", "failed", "cancelled", "gated")


def answer(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A document of ours as an answer, without checking it again."""
    return Response(to_json(document), status, media_type="application/json", headers=dict(headers or {}))


def job_view(row: Mapping[str, Any], *, with_spec: bool = True, attempt: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """One job. `attempt` is its latest, with the names of its nodes, if it has no array and any attempt."""
    view: dict[str, Any] = {"metadata": _metadata(row), "status": _status(row, attempt)}
    if with_spec:
        view["spec"] = row["spec"]
    return view


def full_view(tx: Transaction, row: Mapping[str, Any]) -> dict[str, Any]:
    """One job with all that is known of it; `row` is of `store.jobs.find`."""
    if row["is_array"]:
        view = job_view(row)
        view["status"]["ranges"] = _ranges(tx, row)
        return view
    attempts = jobs.latest_attempts(tx, [row["id"]])
    view = job_view(row, attempt=_with_places(tx, attempts).get(row["id"]))
    if attempts:
        view["status"]["usage"] = jobs.usage(tx, row["id"])
    return view


def list_views(tx: Transaction, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Jobs of a page, without their documents."""
    begun = [row["id"] for row in rows if not row["is_array"] and (row["started_at"] is not None or row["starting_count"])]
    attempts = _with_places(tx, jobs.latest_attempts(tx, begun))
    return [job_view(row, with_spec=False, attempt=attempts.get(row["id"])) for row in rows]


def attempt_views(tx: Transaction, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Attempts, in the order of `rows`."""
    names = _node_names(tx, rows)
    return [
        {
            "id": attempt_id(row["job_id"], row["index"], row["number"]),
            "job": encode_job_id(row["job_id"]),
            **{key: row[key] for key in ("index", "number", "state", "outcome", "reason", "message", "failure_class")},
            **{key: row[key] for key in ("exit_code", "signal", "cluster", "site")},
            "placement": _placement(row, names),
            **{key: row[key] for key in ("tasks", "usage", "progress")},
            **{key: _time(row[key]) for key in ("created_at", "started_at", "ended_at")},
        }
        for row in rows
    ]


def _metadata(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": None if row["id"] is None else encode_job_id(row["id"]),
        "name": row["name"],
        "project": row["project"],
        "queue": row["queue"],
        "submitter": row["submitter"],
        "labels": row["labels"],
        "submitted_at": _time(row["submitted_at"]),
        "version": row["version"],
        "retry_of": None if row["retry_of"] is None else encode_job_id(row["retry_of"]),
    }


def _status(row: Mapping[str, Any], attempt: Mapping[str, Any] | None) -> dict[str, Any]:
    counts = {place: row[f"{place}_count"] for place in PLACES}
    counts["total"] = row["element_count"]
    return {
        "state": row["state"],
        "reason": row["reason"],
        "message": row["message"],
        "attempt": None if attempt is None else attempt["number"],
        "counts": counts,
        "started_at": _time(row["started_at"]),
        "ended_at": _time(row["ended_at"]),
        "exit_code": row["exit_code"],
        "failure_class": row["failure_class"],
        "placement": [] if attempt is None or attempt["state"] == "ended" else attempt["places"],
        "progress": row["progress"],
        "usage": None,
        "conditions": _conditions(row),
    }


def _conditions(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is true of the job so far, in the order in which it comes true."""
    held, started, ended = row["state"] == "held", row["started_at"], row["ended_at"]
    waiting = row["state"] in ("held", "queued")
    return [
        _condition("Released", not held, row, row["submitted_at"] if not held else None, telling=held),
        _condition("Started", started is not None, row, started, telling=waiting and not held),
        _condition("Ended", ended is not None, row, ended, telling=ended is not None),
    ]


def _condition(kind: str, status: bool, row: Mapping[str, Any], at: datetime | None, *, telling: bool) -> dict[str, Any]:
    """`telling`: the job's reason is about this condition."""
    return {
        "type": kind,
        "status": status,
        "reason": row["reason"] if telling else None,
        "message": row["message"] if telling else None,
        "last_transition_at": _time(at),
    }


def _ranges(tx: Transaction, row: Mapping[str, Any]) -> dict[str, Any]:
    texts = {"pending": row["pending"], **jobs.result_ranges(tx, row["id"])}
    if row["cancelled_count"] == row["element_count"]:  # one that never started has no rows of results
        texts["cancelled"] = IndexRanges.parse(row["spec"]["array"].partition("%")[0]).to_postgres()
    view: dict[str, Any] = {}
    truncated = []
    for place, text in texts.items():
        ranges = IndexRanges.from_postgres(text or "")
        if len(ranges.parts) > MOST_RANGES:
            truncated.append(place)
            ranges = IndexRanges(ranges.parts[:MOST_RANGES])
        view[place] = str(ranges)
    if truncated:
        view["truncated"] = truncated
    return view


def _with_places(tx: Transaction, attempts: Mapping[int, Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    names = _node_names(tx, attempts.values())
    return {job: {**attempt, "places": _placement(attempt, names)} for job, attempt in attempts.items()}


def _node_names(tx: Transaction, attempts: Iterable[Mapping[str, Any]]) -> dict[int, str]:
    return jobs.node_names(tx, (part["node"] for attempt in attempts for part in attempt["placement"]))


def _placement(attempt: Mapping[str, Any], names: Mapping[int, str]) -> list[dict[str, Any]]:
    return [
        {
            "cluster": attempt["cluster"],
            "site": attempt["site"],
            "node": names.get(part["node"], str(part["node"])),
            "group": part["group"],
            "ranks": part["ranks"],
        }
        for part in attempt["placement"]
    ]


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat().replace("+00:00", "Z")
