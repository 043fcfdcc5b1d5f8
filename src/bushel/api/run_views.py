"""Rows of pipelines and runs as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from bushel.api.canary_views import canary_plan_view, canary_view, done_of_sample
from bushel.control import run_estimates as estimates
from bushel.control.made_by import makers, origins
from bushel.control.pipelines import Change
from bushel.control.prices import plan_cost, stage_cost
from bushel.control.result_keys import stage_parts
from bushel.control.run_changes import NOTHING
from bushel.control.runs import known_partitions
from bushel.domain.ids import attempt_id, encode_job_id
from bushel.domain.ranges import IndexRanges
from bushel.spec.pipeline_canonical import space_of
from bushel.store import partitions, prices, run_reads, runs
from bushel.store.database import Transaction

COUNTED = ("gated", "pending", "delayed", "starting", "running", "stopping", "succeeded", "failed", "cancelled")
LIVE = ("starting", "running", "stopping")
STRAGGLERS_SHOWN = 5
RECENT_RUNS = 20


def pipeline_view(row: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    names = ("name", "project", "version", "paused", "applied_by", "run_count")
    times = {name: _time(row[name]) for name in ("applied_at", "created_at")}
    return {**{name: row[name] for name in names}, **times, **more}


def version_view(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"version": row["version"], "applied_at": _time(row["applied_at"]), "applied_by": row["applied_by"]}


def change_views(changes: Sequence[Change]) -> list[dict[str, Any]]:
    return [{"pointer": change.pointer, "before": change.before, "after": change.after} for change in changes]


def run_view(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("pipeline", "project", "number", "version", "state", "reason", "message", "backfill", "redo", "parameters", "submitter")
    return {
        **{name: row[name] for name in names},
        "paused": row["paused"] or row["pipeline_paused"],
        "base": row.get("base_number"),
        "canary": canary_view(row),
        **{name: _time(row[name]) for name in ("submitted_at", "ended_at", "deadline_at")},
    }


def full_run_view(tx: Transaction, row: Mapping[str, Any]) -> dict[str, Any]:
    """With its stages."""
    counted = run_reads.counts(tx, [row["id"]])
    now = tx.now.timestamp() if row["ended_at"] is None else row["ended_at"].timestamp()
    rows = runs.stages(tx, [row["id"]])
    live_jobs = [job for one in counted.values() if any(one[place] for place in LIVE) for job in one["jobs"]]
    slow = run_reads.live(tx, live_jobs, 200) if live_jobs else []
    stages = [_stage_view(tx, stage, counted.get(stage["id"]), now, slow) for stage in rows]
    left = [stage["seconds_left"] for stage in stages if stage["state"] in ("running", "waiting")]
    known = [seconds for seconds in left if seconds is not None]
    base = runs.read(tx, row["base_id"]) if row["base_id"] else None
    view = run_view({**row, "base_number": base["number"] if base else None})
    seconds_left = 0.0 if row["ended_at"] else max(known) if known and len(known) == len(left) else None
    if row["canary"] is not None:
        view["canary"] = canary_view(row, done_of_sample(tx, row, counted))
    return view | {"seconds_left": _rounded(seconds_left), "stages": stages}


def _stage_view(
    tx: Transaction, row: Mapping[str, Any], counted: Mapping[str, Any] | None, now: float, slow: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    counts = {place: (counted or {}).get(place, 0) for place in COUNTED}
    moments, durations = row["samples"].get("moments", []), row["samples"].get("durations", [])
    done = counts["succeeded"] + counts["failed"] + counts["cancelled"]
    rate = estimates.rate_per_second(moments, now)
    live = sum(counts[place] for place in LIVE)
    ended = row["state"] in ("succeeded", "failed", "cancelled")
    left = 0.0 if ended else None if row["element_count"] is None else estimates.left_of_stage(row["element_count"], done, rate)
    jobs = (counted or {}).get("jobs", [])
    return {
        "name": row["name"],
        "state": row["state"],
        "message": row["message"],
        "partitions": row["element_count"],
        "counts": counts,
        "carried": len(row["carried"]),
        "cached": row["cached_count"],
        "records_total": row["records_total"],
        "records_bad": row["records_bad"],
        "rate_per_second": None if ended else _rounded(rate),
        "seconds_left": _rounded(left),
        "median_seconds": _rounded(estimates.median_seconds(durations)),
        "stalled_seconds": None if ended else _rounded(estimates.stalled_seconds(moments, now, live)),
        "stragglers": _stragglers(tx, row["set_id"], [one for one in slow if one["job_id"] in jobs], durations),
        "spent": [{"cluster": cluster, **spent} for cluster, spent in sorted(row["samples"].get("spent", {}).items())],
        "jobs": [encode_job_id(job) for job in jobs],
        "outputs": {
            name: {"dataset": made.get("dataset"), "version": made.get("version")} for name, made in (row["outputs"] or {}).items()
        },
    }


def _stragglers(tx: Transaction, set_id: int | None, slow: Sequence[Mapping[str, Any]], durations: Sequence[float]) -> list[dict[str, Any]]:
    late = [one for one in slow if estimates.is_straggler(one["seconds"], durations)][:STRAGGLERS_SHOWN]
    if not late or set_id is None:
        return []
    names = partitions.names(tx, ((set_id, one["index"]) for one in late))
    usual = estimates.median_seconds(durations) or 1.0
    return [
        {
            "partition": names[set_id, one["index"]][0],
            "seconds": round(one["seconds"], 1),
            "times_median": round(one["seconds"] / max(usual, 0.001), 1),
            "attempt": attempt_id(one["job_id"], one["index"], one["number"]),
            "site": one["site"],
            "cluster": one["cluster"],
        }
        for one in late
    ]


def grid_view(tx: Transaction, run_id: int, columns: int) -> dict[str, Any]:
    """Every stage in at most so many cells."""
    counted = run_reads.cells(tx, run_id, columns)
    rows = []
    for stage in runs.stages(tx, [run_id]):
        count = stage["element_count"] or 0
        cells = [[0] * len(run_reads.CELL_PLACES) for _ in range(min(columns, count) if stage["id"] in counted else 0)]
        for cell, place, many in counted.get(stage["id"], ()):
            cells[cell][place] = many
        rows.append({"stage": stage["name"], "partitions": count, "cells": cells, "taken_over": origins(tx, stage)})
    return {"rows": rows}


def _places(tx: Transaction, counted: Mapping[str, Any]) -> list[IndexRanges]:
    found = run_reads.places(tx, counted["jobs"])
    live = run_reads.live_indices(tx, counted["jobs"]) if any(counted[place] for place in LIVE) else NOTHING
    return [found["succeeded"], found["failed"], found["cancelled"], live, found["pending"], found["gated"]]


def partition_views(
    tx: Transaction, stage: Mapping[str, Any], counted: Mapping[str, Any] | None, state: str | None, after: int, limit: int
) -> list[dict[str, Any]]:
    """Partitions of a stage behind the index `after`, in their order."""
    if counted is None or stage["set_id"] is None:
        return []
    names = run_reads.CELL_PLACES
    places: dict[str, IndexRanges] = dict(zip(names, _places(tx, counted), strict=True))
    everything = IndexRanges(((after + 1, stage["element_count"]),)) if after + 1 < stage["element_count"] else NOTHING
    wanted = (everything if state is None else everything & places[state]).first(limit)
    indices = list(wanted)
    called = partitions.names(tx, ((stage["set_id"], index) for index in indices))
    ended = run_reads.last_attempts(tx, counted["jobs"], indices)
    made = makers(tx, stage, wanted & places["succeeded"])
    views = []
    for index in indices:
        attempt = ended.get(index)
        views.append(
            {
                "partition": called[stage["set_id"], index][0],
                "index": index,
                "stage": stage["name"],
                "state": next((name for name in names if index in places[name]), "pending"),
                "reason": attempt["reason"] if attempt else None,
                "message": attempt["message"] if attempt else None,
                "attempt": attempt_id(attempt["job_id"], index, attempt["number"]) if attempt else None,
                "cluster": attempt["cluster"] if attempt else None,
                "made_by": made.get(index),
            }
        )
    return views


def record_views(tx: Transaction, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    names = partitions.names(tx, ((row["set_id"], row["index"]) for row in rows))
    views = []
    for row in rows:
        records = row["records"] or {}
        listed = records.get("list")
        views.append(
            {
                "stage": row["stage"],
                "partition": names[row["set_id"], row["index"]][0],
                "attempt": attempt_id(row["job_id"], row["index"], row["attempt"]) if row["attempt"] else None,
                "bad": row["bad_count"],
                "total": records.get("total") or 0,
                "list": [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else [],
            }
        )
    return views


def plan_view(
    tx: Transaction,
    place: Any,
    found: Mapping[str, Any] | None,
    before: Mapping[str, Any] | None,
    document: Mapping[str, Any],
    changes: Sequence[Change],
) -> dict[str, Any]:
    """What applying and running the document would do."""
    durations = run_reads.durations(tx, found["id"], found["run_count"] - RECENT_RUNS) if found else {}
    priced = prices.of_clusters(tx)
    stages, planned, costs = [], {}, []
    for name, stage in document["stages"].items():
        known = known_partitions(tx, document, space_of(document, name))
        count = None if known is None else len(known.names)
        lately, last_count = durations.get(name, ([], None))
        expected = last_count if count is None else count  # of listed partitions: as many as the last time
        seconds, hours = estimates.plan_stage(stage, expected, lately)
        planned[name] = (expected, seconds)
        costs.append(stage_cost(stage, None if seconds is None or expected is None else seconds * expected / 3600, priced))
        stages.append(
            {
                "name": name,
                "partitions": count,
                "after": [edge["stage"] for edge in stage["after"]],
                "changed": _changed_parts(name, stage, before),
                "partition_seconds": _rounded(seconds),
                "cpu_hours": _rounded(hours),
            }
        )
    hours = [stage["cpu_hours"] for stage in stages]
    counts = [stage["partitions"] for stage in stages if stage["partitions"] is not None]
    view: dict[str, Any] = {
        "name": document["name"],
        "project": place.path,
        "version": found["version"] if found else 0,
        "changes": change_views(changes) if found else [],
        "stages": stages,
        "canary": canary_plan_view(tx, place.project_id, document),
        "partitions": max(counts, default=None),
        "cpu_hours": _rounded(sum(hours)) if all(one is not None for one in hours) else None,
        "cost": plan_cost(costs, priced, timed=all(one is not None for one in hours)),
        "finish_seconds": _rounded(estimates.plan_finish(document["stages"], planned, run_reads.cpus(tx))),
    }
    return view | {"sentence": _plan_sentence(view)}


def _plan_sentence(view: Mapping[str, Any]) -> str:
    if not view["version"]:
        return f"{view['name']} is new in {view['project']}"
    if not view["changes"]:
        return f"nothing would change: it is version {view['version']} of {view['name']}"
    return f"it would be version {view['version'] + 1} of {view['name']}"


def _changed_parts(name: str, stage: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[str]:
    old = (before or {}).get("stages", {}).get(name)
    if old is None:
        return []
    then, now = stage_parts(name, old, {}, {}), stage_parts(name, stage, {}, {})
    return [part for part in ("code", "environment") if then[part] != now[part]]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat().replace("+00:00", "Z")
