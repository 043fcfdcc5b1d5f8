"""The ends of stages: what they came to, the data sets that they made, and the partitions that they listed for others.

Guarantees: a stage is closed in the transaction that sees its last element finished; the versions of its outputs are committed in the
same one, so whoever sees the stage as succeeded sees them; partitions that were listed become one immutable set, in the order of the
elements that listed them.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Any

from bushel.control.canary import canary_of
from bushel.control.result_keys import sources
from bushel.control.run_state import ENDED, RunState, StageState
from bushel.control.runs import Known, write_set
from bushel.control.stage_jobs import NewStage, make_jobs
from bushel.control.stage_places import data_sets
from bushel.domain.errors import BushelError, Conflict, InvalidDocument
from bushel.domain.permissions import Role
from bushel.domain.principal import Principal
from bushel.domain.ranges import IndexRanges
from bushel.spec.pipeline import PARTITIONS_LIMIT
from bushel.spec.pipeline_canonical import space_of
from bushel.store import partitions
from bushel.store.database import Transaction

NAMES_LIMIT_BYTES = 64 * 1024 * 1024
"""Most that the names of one element come to when they are unpacked."""

NAME_LENGTH = 255


def close_stage(tx: Transaction, run: RunState, stage: StageState, actor: str) -> None:
    """All of it is finished: say what it came to, and commit what it made."""
    failed, cancelled = stage.counted("failed"), stage.counted("cancelled")
    if failed:
        first = next((one.job.first_failure for one in stage.jobs if one.job.first_failure), None) or {}
        why = first.get("message") or first.get("reason") or "no reason was given"
        stage.set_state("failed", f"{failed:,} of {stage.count:,} partitions of {stage.name} failed; the first: {why}"[:2000])
        _tell_failed(tx, run, stage)
    elif cancelled:
        stage.set_state("cancelled", f"{cancelled:,} of {stage.count:,} partitions of {stage.name} were not done")
    else:
        canary = canary_of(run)
        if canary is not None and canary.withholds(stage):
            stage.set_state("cancelled", f"what {stage.name} made is not published: the gates of the canary did not hold")
            return
        stage.set_state("succeeded")
        if stage.definition.get("outputs"):
            _commit(tx, run, stage, actor, withheld=canary is not None and canary.pending)


def _commit(tx: Transaction, run: RunState, stage: StageState, actor: str, *, withheld: bool) -> None:
    module = data_sets()
    if module is None:
        return
    row = run.row
    produced_by = _produced_by(run, stage)
    settled = row["inputs"].get(stage.name, {})
    read = sorted(_made_of(run, stage.name))
    reader = Principal(0, actor, "service", bindings={row["project"]: Role.ADMIN})
    made: dict[str, Any] = {}
    try:
        for name in stage.definition["outputs"]:
            written = settled["outputs"][name]["dataset"]
            version = module.commit_parts(
                tx,
                project_id=row["project_id"],
                project_path=row["project"],
                dataset=written,
                parts=_parts(tx, stage, name),
                produced_by=produced_by,
                inputs=read,
                actor=actor,
                withheld=withheld,
            )
            made[name] = module.resolve_input(tx, reader, row["project"], f"{written}@{version['version']}") | version
    except (InvalidDocument, Conflict) as error:
        stage.set_state("failed", f"what {stage.name} made could not be committed: {error.message}"[:2000])
        _tell_failed(tx, run, stage)
        return
    stage.row["outputs"] = made


def _produced_by(run: RunState, stage: StageState) -> dict[str, Any]:
    """What the data set's lineage says of who made a version."""
    row = run.row
    return {
        **{"pipeline": row["pipeline"], "pipeline_version": row["version"], "run": row["number"], "run_id": row["id"]},
        **{"stage": stage.name, "stage_id": stage.row["id"]},
    }


def _tell_failed(tx: Transaction, run: RunState, stage: StageState) -> None:
    """That there will be no version is lineage too."""
    module = data_sets()
    if module is None or not stage.definition.get("outputs"):
        return
    written = (run.row["inputs"].get(stage.name) or {}).get("outputs") or {}
    module.record_failed(
        tx,
        project_id=run.row["project_id"],
        project_path=run.row["project"],
        produced_by=_produced_by(run, stage),
        outputs=[each["dataset"] for each in written.values()],
        message=stage.row["message"] or "",
    )


def _made_of(run: RunState, stage: str) -> set[tuple[str, int]]:
    """Versions that a stage has read: its inputs, what the stages before it made in this run, and through those that made none theirs."""
    settled = run.row["inputs"].get(stage) or {}
    given = [*(settled.get("inputs") or {}).values()]
    found = set()
    for edge in run.stages[stage].definition["after"]:
        outputs = run.stages[edge["stage"]].row["outputs"]
        if outputs:
            given += outputs.values()
        else:
            found |= _made_of(run, edge["stage"])
    return found | {(each["dataset"], each["version"]) for each in given if each.get("version")}


_OUTPUTS = """
    select index, body -> 'outputs' -> %s as output from element_results
    where job_id = any(%s) and index <@ %s::int4multirange order by index
"""


def _parts(tx: Transaction, stage: StageState, output: str) -> Iterator[tuple[str, Any]]:
    """What each partition wrote, in their order."""
    everything = IndexRanges(((0, stage.count),)) if stage.count else IndexRanges()
    rows = [row for jobs, some in sources(tx, stage.row, everything) for row in tx.all(_OUTPUTS, (output, jobs, some.to_postgres()))]
    names, _ = partitions.all_names(tx, stage.row["set_id"])
    for row in sorted(rows, key=lambda row: row["index"]):
        if row["output"] is not None:
            yield names[row["index"]], row["output"]


def find_partitions(tx: Transaction, run: RunState, stage: StageState) -> None:
    """Give a stage the partitions that another has listed, once that is over."""
    space = space_of(run.document, stage.name)
    lister = run.stages[space]
    if not lister.ended:
        return
    if lister.row["state"] != "succeeded" or not run.live:
        stage.set_state("cancelled", f"{space} did not list its partitions")
        return
    try:
        if space not in run.sets:
            known = _listed(tx, lister)
            run.sets[space] = (write_set(tx, run.row["project_id"], known), len(known.names))
    except Conflict as error:
        stage.set_state("failed", f"the partitions that {space} listed cannot be used: {error.message}")
        return
    stage.row["set_id"], stage.row["element_count"] = run.sets[space]
    stage.dirty = True
    if stage.count:
        stage.late = True
        stage.row["state"] = "running"
    else:
        stage.set_state("succeeded")


def make_waiting_jobs(tx: Transaction, run: RunState, actor: str) -> None:
    """Jobs for the stages whose partitions became known in this step."""
    for stage in run.stages.values():
        if not stage.late:
            continue
        ready = all(_good(run.stages[edge["stage"]], edge) for edge in stage.definition["after"])
        try:
            make_jobs(tx, run.row, run.document, [NewStage(stage.row["id"], stage.name, stage.row["set_id"], ready=ready)], actor)
        except BushelError as error:
            stage.set_state("failed", error.message)
        run.again = True


def _good(before: StageState, edge: Mapping[str, Any]) -> bool:
    return not before.late and before.row["state"] in (ENDED if edge["on"] == "end" else ("succeeded",))


_NAMES = """
    select index, names from element_results where job_id = any(%s) and index <@ %s::int4multirange and names is not null order by index
"""


def _listed(tx: Transaction, lister: StageState) -> Known:
    everything = IndexRanges(((0, lister.count),)) if lister.count else IndexRanges()
    rows = [row for jobs, some in sources(tx, lister.row, everything) for row in tx.all(_NAMES, (jobs, some.to_postgres()))]
    listed: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda row: row["index"]):
        listed += unpack_names(row["names"])
        if len(listed) > PARTITIONS_LIMIT:
            raise Conflict(f"more than {PARTITIONS_LIMIT:,} partitions")
    if len({partition["name"] for partition in listed}) < len(listed):
        seen: set[str] = set()
        twice = next(name for partition in listed if (name := partition["name"]) in seen or seen.add(name))
        raise Conflict(f"{twice} was listed twice")
    listed.sort(key=lambda partition: partition["site"] or "")
    sites = {partition["site"] for partition in listed} - {None}
    if sites and (unknown := sites - {row["name"] for row in tx.all("select name from sites where name = any(%s)", (sorted(sites),))}):
        raise Conflict(f"there is no site {min(unknown)}")
    names, digests, places = ([partition[field] for partition in listed] for field in ("name", "digest", "site"))
    return Known(names, digests, places)


def unpack_names(packed: str) -> list[dict[str, Any]]:
    """The partitions that an element listed: on each line a name, or a mapping with name, site and digest.

    Raises:
        Conflict: it is not that.
    """
    try:
        inflating = zlib.decompressobj()
        text = inflating.decompress(b64decode(packed), NAMES_LIMIT_BYTES)
        if inflating.unconsumed_tail:
            raise Conflict("the list is too long")
        lines = text.decode().splitlines()
    except (ValueError, zlib.error) as error:
        raise Conflict("the list cannot be read") from error
    return [_partition(line) for line in lines if line.strip()]


def _partition(line: str) -> dict[str, Any]:
    value: Any = line.strip()
    if value[0] in '"{':
        try:
            value = json.loads(value)
        except ValueError:
            raise Conflict(f"{line[:80]!r} is not JSON") from None
    found = {"name": value} if isinstance(value, str) else value
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        raise Conflict(f"{line[:80]!r} names no partition")
    texts = {field: found.get(field) for field in ("name", "site", "digest")}
    for field, text in texts.items():
        if text is not None and not (isinstance(text, str) and 0 < len(text) <= NAME_LENGTH and text.isprintable()):
            raise Conflict(f"the {field} of {line[:80]!r} is not a text of 1 to {NAME_LENGTH} letters without control characters")
    return texts
