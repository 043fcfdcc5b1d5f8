"""Beginning a run: its number, its partitions, its stages and their jobs, in one transaction.

Guarantees: what a run works on and with is settled when it begins: the document's version, parameters, partitions that are known, and
the versions of the data sets that it reads; nothing that is applied or published later changes it. Stages whose partitions are found
while it goes on get their jobs then, from the same document.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from bushel.control.audit import audit
from bushel.control.canary_measures import new_canary
from bushel.control.elements import PIPELINES
from bushel.control.result_keys import stage_parts
from bushel.control.stage_jobs import NewStage, make_jobs
from bushel.control.stage_places import Resolved, resolve_stages, secret_times
from bushel.domain.errors import Conflict, FieldProblem, InvalidDocument
from bushel.domain.principal import Principal
from bushel.domain.ranges import IndexRanges
from bushel.spec.pipeline import PARTITIONS_LIMIT
from bushel.spec.pipeline_canonical import ONCE, PIPELINE_PARTITIONS, partitions_of, space_of, window_count, window_name
from bushel.store import partitions, pipelines, runs
from bushel.store.database import Event, Transaction

ALL = "all"
"""The name of the one partition of a stage that runs once."""


@dataclass(frozen=True, slots=True)
class Known:
    """Partitions that are known before a run: names, and of each the digest and the site, where there is one."""

    names: list[str]
    digests: list[str | None]
    sites: list[str | None]
    windows: Mapping[str, Any] | None = None

    def chosen(self, patterns: Sequence[str]) -> Known:
        """Those that a pattern names (`2026-01-*`), or a range of two names (`a..b`).

        Raises:
            InvalidDocument: one of the patterns names none.
        """
        keep: set[int] = set()
        for number, pattern in enumerate(patterns):
            found = matching(self.names, pattern)
            if not found:
                raise InvalidDocument([FieldProblem(f"/partitions/{number}", f"no partition is called {pattern}", "not_found")])
            keep |= set(found)
        places = sorted(keep)
        return Known(
            [self.names[at] for at in places], [self.digests[at] for at in places], [self.sites[at] for at in places], self.windows
        )


def matching(names: Sequence[str], pattern: str) -> list[int]:
    """Indices of the names that a pattern or a range of names chooses."""
    first, dots, last = pattern.partition("..")
    if dots and first and last and first in names and last in names:
        return list(range(names.index(first), names.index(last) + 1))
    if any(letter in pattern for letter in "*?["):
        return [at for at, name in enumerate(names) if fnmatch.fnmatchcase(name, pattern)]
    return [at for at, name in enumerate(names) if name == pattern]


@dataclass(slots=True)
class Again:
    """What a run takes over from the one that it does again: by stage, whose results stand and which partitions are left out."""

    base_id: int
    sets: dict[str, int] = field(default_factory=dict)  # space → the set that it has in common
    stages: dict[str, tuple[int, IndexRanges, IndexRanges]] = field(default_factory=dict)  # id of the base's stage, carried, left out
    told: dict[str, Any] = field(default_factory=dict)
    canary: dict[str, Any] | None = None  # where its gates were let pass
    inputs: dict[str, Any] | None = None  # what stages read and write, where that has to be what it was


def known_partitions(tx: Transaction, document: Mapping[str, Any], space: str) -> Known | None:
    """Those of a space; None where a stage lists them while the run goes on."""
    if space == ONCE:
        return Known([ALL], [None], [None])
    if space != PIPELINE_PARTITIONS and not space.startswith("="):
        return None
    written = partitions_of(document, space)
    if "list" in written:
        listed = sorted(written["list"], key=lambda partition: partition.get("site", ""))
        return Known([p["name"] for p in listed], [p.get("digest") for p in listed], [p.get("site") for p in listed])
    windows = written["windows"]
    count = window_count(windows, tx.now)
    if count > PARTITIONS_LIMIT:
        raise Conflict(f"{count:,} windows; the most is {PARTITIONS_LIMIT:,}", suggestion="a later start, or longer windows")
    names = [window_name(windows, number) for number in range(count)]
    return Known(names, [None] * count, [None] * count, {"every_seconds": windows["every"]})


def spaces_of(document: Mapping[str, Any]) -> list[str]:
    """In the order in which stages need them."""
    return list(dict.fromkeys(space_of(document, name) for name in document["stages"]))


def write_set(tx: Transaction, project_id: int, known: Known) -> int:
    sites: dict[str, list[int]] = {}
    for at, site in enumerate(known.sites):
        if site is not None:
            sites.setdefault(site, []).append(at)
    ranges = {site: IndexRanges.of_indices(places) for site, places in sites.items()}
    return partitions.make(tx, project_id, known.names, digests=known.digests, sites=ranges, windows=known.windows)


def begin(
    tx: Transaction,
    principal: Principal,
    pipeline: Mapping[str, Any],
    document: Mapping[str, Any],
    version: int,
    queue_id: int,
    *,
    parameters: Mapping[str, str] | None = None,
    chosen: Sequence[str] | None = None,
    backfill: bool = False,
    again: Again | None = None,
) -> int:
    """Make a run of a pipeline that the principal may run. Its id.

    Raises:
        InvalidDocument: a parameter or a partition that the document does not have, or a data set that is not there.
        Conflict: partitions have to stay where their stage may not run.
    """
    settled = {**document.get("parameters", {}), **_overrides(document, parameters or {})}
    resolved = resolve_stages(tx, principal, pipeline["project"], document)
    number = pipelines.next_run(tx, pipeline["id"])
    deadline = document.get("deadline")
    run: dict[str, Any] = {
        "pipeline_id": pipeline["id"],
        "project_id": pipeline["project_id"],
        "queue_id": queue_id,
        "submitter_id": principal.id,
        "number": number,
        "version": version,
        "base_id": again.base_id if again else None,
        "backfill": backfill,
        "parameters": settled,
        "inputs": again.inputs if again and again.inputs is not None else {name: stage.told() for name, stage in resolved.items()},
        "redo": again.told if again else {},
        "canary": again.canary if again and again.canary else new_canary(tx, pipeline["project_id"], document),
        "deadline_at": tx.now + timedelta(seconds=deadline) if deadline else None,
    }
    run["id"] = runs.insert(tx, run)
    run |= {"pipeline": pipeline["name"], "project": pipeline["project"], "paused": False}
    nothing_to_do = _make_stages(tx, run, document, _sets(tx, run, document, chosen, again), again, principal.name)
    tx.emit(run_event("run.submitted", run, principal.name, state="running", version=version, backfill=backfill))
    if nothing_to_do:
        runs.write_run(tx, run["id"], state="succeeded", reason=None, message=None, due=False)
        tx.emit(run_event("run.succeeded", run, principal.name, state="succeeded"))
    audit(tx, principal, "run:submit", f"run/{pipeline['name']}/{number}", pipeline["project"], version=version)
    tx.wake(PIPELINES)
    return run["id"]


def run_event(kind: str, run: Mapping[str, Any], actor: str, **body: Any) -> Event:
    """`body` without what is None."""
    told = {name: value for name, value in body.items() if value is not None}
    return Event(kind, run["project"], f"run/{run['pipeline']}/{run['number']}", actor, told)


def _overrides(document: Mapping[str, Any], parameters: Mapping[str, str]) -> dict[str, str]:
    unknown = sorted(set(parameters) - set(document.get("parameters", {})))
    if unknown:
        have = ", ".join(document.get("parameters", {})) or "none"
        raise InvalidDocument(
            [FieldProblem(f"/parameters/{unknown[0]}", f"the pipeline has no such parameter; it has {have}", "not_found")]
        )
    return dict(parameters)


def _sets(
    tx: Transaction, run: Mapping[str, Any], document: Mapping[str, Any], chosen: Sequence[str] | None, again: Again | None
) -> dict[str, int]:
    """The set of each space that is known."""
    sets: dict[str, int] = {}
    for space in spaces_of(document):
        if again is not None and space in again.sets:
            sets[space] = again.sets[space]
            continue
        known = known_partitions(tx, document, space)
        if known is None:
            continue
        if chosen is not None and space == PIPELINE_PARTITIONS:
            known = known.chosen(chosen)
        sets[space] = write_set(tx, run["project_id"], known)
    if chosen is not None and PIPELINE_PARTITIONS not in sets:
        sentence = "a stage lists them in each run, so none can be chosen before"
        raise InvalidDocument(
            [FieldProblem("/partitions", sentence, "conflict", "choose in a rerun: bushel pipeline rerun NAME --partitions …")]
        )
    return sets


def _make_stages(
    tx: Transaction, run: Mapping[str, Any], document: Mapping[str, Any], sets: Mapping[str, int], again: Again | None, actor: str
) -> bool:
    """Whether there is nothing to do: no stage has any partition."""
    times = secret_times(tx, run["project_id"])
    counts = {set_id: partitions.find(tx, set_id)["count"] for set_id in set(sets.values())}
    made: list[NewStage] = []
    nothing_to_do = True
    for position, (name, stage) in enumerate(document["stages"].items()):
        set_id = sets.get(space_of(document, name))
        base_id, carried, left_out = (
            again.stages.get(name, (None, IndexRanges(), IndexRanges())) if again else (None, IndexRanges(), IndexRanges())
        )
        count = None if set_id is None else counts[set_id]
        row = {
            "run_id": run["id"],
            "position": position,
            "name": name,
            "set_id": set_id,
            "element_count": count,
            "state": "waiting" if count is None else "running" if count else "succeeded",
            "parts": stage_parts(name, stage, run["parameters"], times),
            "base_stage_id": base_id,
            "carried": carried,
            "left_out": left_out,
        }
        stage_id = runs.insert_stage(tx, row)
        if set_id is not None and count:
            made.append(NewStage(stage_id, name, set_id, carried, left_out, ready=not stage["after"]))
        nothing_to_do = nothing_to_do and count == 0
    make_jobs(tx, run, document, made, actor)
    return nothing_to_do


def resolved_of(run: Mapping[str, Any], stage: str) -> Resolved:
    """What the stage reads and writes, as it was settled when the run began."""
    return Resolved(**{name: run["inputs"].get(stage, {}).get(name) for name in ("inputs", "outputs")})
