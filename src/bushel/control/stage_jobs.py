"""The jobs of a stage: one array for the stage, and one for each site where partitions have to stay.

Guarantees: the index of an element is the number of its partition in the run, whichever job it is in; a new job has everything gated
but what is finished from the beginning, which is carried over from the run that this one does again, or left out of it; all of it
is written in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bushel.domain.errors import Conflict
from bushel.domain.ids import encode_job_id
from bushel.domain.lifecycle import JobState, Reason
from bushel.domain.ranges import IndexRanges
from bushel.spec.pipeline_canonical import job_of
from bushel.store import partitions, runs
from bushel.store.database import Event, Transaction

_NAME_LENGTH = 63


@dataclass(slots=True)
class NewStage:
    """A stage whose partitions are known, on its way to jobs."""

    id: int
    name: str
    set_id: int
    carried: IndexRanges = field(default_factory=IndexRanges)
    left_out: IndexRanges = field(default_factory=IndexRanges)
    ready: bool = False  # it is made of nothing that is missing


@dataclass(frozen=True, slots=True)
class _Part:
    """The partitions of a stage that one job works on."""

    stage: NewStage
    site: str | None
    indices: IndexRanges
    set: Mapping[str, Any]


def make_jobs(tx: Transaction, run: Mapping[str, Any], document: Mapping[str, Any], stages: Sequence[NewStage], actor: str) -> None:
    """Write the jobs of these stages. A stage without partitions gets none.

    Raises:
        Conflict: partitions have to stay at a site where their stage may not run.
    """
    sets = {stage.set_id: partitions.find(tx, stage.set_id) for stage in stages}
    parts = [part for stage in stages for part in _parts(stage, sets[stage.set_id], document)]
    if not parts:
        return
    rows = [_row(run, document, part) for part in parts]
    numbers = runs.insert_jobs(tx, rows)
    placed = list(zip(numbers, parts, strict=True))
    ready = [(number, part.stage.id, part.site, _open_part(part) if part.stage.ready else IndexRanges()) for number, part in placed]
    runs.insert_stage_jobs(tx, ready)
    early = [(number, part.stage.carried & part.indices, part.stage.left_out & part.indices) for number, part in placed]
    runs.finish_early(tx, [row for row in early if row[1] or row[2]])
    for number, row in zip(numbers, rows, strict=True):
        identity = f"job/{encode_job_id(number)}"
        body = {"version": 1, "state": row["state"], "name": row["name"], "reason": row["reason"]}
        told = {name: value for name, value in body.items() if value is not None}
        tx.emit(Event("job.submitted", run["project"], identity, actor, told, number))
        if row["state"] in (JobState.SUCCEEDED, JobState.CANCELLED):
            tx.emit(Event(f"job.{row['state']}", run["project"], identity, actor, told, number))


def _open_part(part: _Part) -> IndexRanges:
    return part.indices - part.stage.carried - part.stage.left_out


def _parts(stage: NewStage, found: Mapping[str, Any], document: Mapping[str, Any]) -> list[_Part]:
    everything = IndexRanges(((0, found["count"]),)) if found["count"] else IndexRanges()
    allowed = document["stages"][stage.name].get("placement", {}).get("sites")
    parts = []
    for site, indices in sorted(found["sites"].items()):
        if allowed and site not in allowed:
            raise Conflict(f"{len(indices):,} partitions have to stay at {site}, where stage {stage.name} may not run")
        parts.append(_Part(stage, site, indices, found))
        everything = everything - indices
    return [*([_Part(stage, None, everything, found)] if everything else []), *parts]


def _row(run: Mapping[str, Any], document: Mapping[str, Any], part: _Part) -> dict[str, Any]:
    stage, definition = part.stage, document["stages"][part.stage.name]
    carried, left_out = len(stage.carried & part.indices), len(stage.left_out & part.indices)
    gated = _open_part(part)
    spec = _spec(run, document, definition, part)
    state = JobState.HELD if gated else JobState.CANCELLED if left_out else JobState.SUCCEEDED
    return {
        "project_id": run["project_id"],
        "queue_id": run["queue_id"],
        "submitter_id": run["submitter_id"],
        "name": spec["name"],
        "labels": spec["labels"],
        "spec": spec,
        "state": state.value,
        "reason": Reason.UPSTREAM.value if gated else None,
        "priority": spec["priority"],
        "element_count": len(part.indices),
        "gated": gated.to_postgres(),
        "gated_count": len(gated),
        "succeeded_count": carried,
        "cancelled_count": left_out,
        "user_hold": run["paused"],
    }


def _spec(run: Mapping[str, Any], document: Mapping[str, Any], definition: Mapping[str, Any], part: _Part) -> dict[str, Any]:
    spec = job_of(definition)
    name = part.stage.name
    data = run["inputs"].get(name, {})
    spec["name"] = f"{run['pipeline']}.{run['number']}.{name}"[:_NAME_LENGTH].rstrip(".-_")
    spec["priority"] = document["backfill_priority" if run["backfill"] else "priority"]
    spec["labels"] = {**spec.get("labels", {}), "pipeline": run["pipeline"], "run": str(run["number"]), "stage": name}
    limit = definition.get("limit") if len(part.indices) == part.set["count"] else None  # of several jobs the controller keeps the limit
    spec["array"] = f"{part.indices}%{limit}" if limit else str(part.indices)
    sites = [part.site] if part.site is not None else data.get("sites")
    if sites is not None:
        allowed = spec.get("placement", {}).get("sites")
        spec["placement"] = {**spec.get("placement", {}), "sites": [site for site in sites if not allowed or site in allowed] or sites}
    if data.get("secrets"):
        spec["secrets"] = sorted({*spec.get("secrets", ()), *data["secrets"]})
    spec["stage"] = {
        "pipeline": run["pipeline"],
        "version": run["version"],
        "run": run["number"],
        "run_id": run["id"],
        "stage": name,
        "stage_id": part.stage.id,
        "set": part.set["id"],
        "count": part.set["count"],
        "code": definition.get("code", ""),
        "parameters": run["parameters"],
        "after": [edge["stage"] for edge in definition["after"]],
        "upstream": [edge["stage"] for edge in definition["after"] if edge["edge"] == "one-to-one"],
        **({"every_seconds": part.set["windows"]["every_seconds"]} if part.set["windows"] else {}),
    }
    return spec
