"""What a sample made, and what the last version has of the same partitions.

Guarantees: only partitions of the sample are read, of both sides. The schema and statistics of a part of an earlier version are taken
from the result in which a task described it, and only where that has the part's very digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from bushel.control.canary_gates import Measured, SampleCounts
from bushel.control.result_keys import sources
from bushel.control.run_state import RunState
from bushel.domain.ids import decode_job_id
from bushel.domain.ranges import IndexRanges
from bushel.spec.canary import SAMPLING
from bushel.spec.canary_stages import written_by_sample
from bushel.spec.dataset import PartDescriptor
from bushel.spec.manifest import Total
from bushel.store import datasets, partitions
from bushel.store.database import Transaction

INDEX_LIMIT = 2**31 - 1

_BODIES = """
    select e.index, e.body, e.bad_count
    from unnest(%s::bigint[]) j (job_id), unnest(%s::int4multirange) r,
         lateral (  -- by its key and range by range, whatever the planner believes of how many there are
             select * from element_results e where e.job_id = j.job_id and e.index >= lower(r) and e.index < upper(r) offset 0
         ) e
    where e.body is not null order by e.index
"""

_PARTS = """
    select n.name, n.digest, n.files, n.size, n.records, p.made_by -> (n.place - 1)::int as made_by
    from dataset_version_parts p,
         unnest(p.names, p.digests, p.files, p.sizes, p.records) with ordinality n (name, digest, files, size, records, place)
    where p.version_id = %s and n.name = any(%s)
"""

_NAMES = "select unnest(names) as name from dataset_version_parts where version_id = %s"

_DESCRIBED = """
    select o.value as output from unnest(%s::bigint[], %s::int[]) n (job_id, index)
    join element_results e on e.job_id = n.job_id and e.index = n.index, jsonb_each(e.body -> 'outputs') o
    where jsonb_typeof(e.body -> 'outputs') = 'object'
"""


def new_canary(tx: Transaction, project_id: int, document: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a new run notes of its canary, with the versions that are current now; None where the document has none."""
    if "canary" not in document:
        return None
    current: dict[str, int | None] = {}
    for name in written_by_sample(document):
        rows = datasets.find(tx, [project_id], name)
        current[name] = rows[0]["current_number"] if rows else None
    return {"state": SAMPLING, "compared_with": current, "sample": None, "outcomes": []}


def rest_waits_for(tx: Transaction, run_id: int) -> str | None:
    """What the rest of a run waits for while its sample is done; None where it waits for no canary."""
    row = tx.first("select canary from runs where id = %s and ended_at is null and canary ->> 'state' = %s", (run_id, SAMPLING))
    if row is None:
        return None
    sample = row["canary"]["sample"]
    return f"the canary's sample of {sample['count']:,} of {sample['of']:,} partitions" if sample else "the canary's sample"


def partitions_of_versions(tx: Transaction, project_id: int, versions: Mapping[str, int | None]) -> dict[str, int]:
    """The partitions of these versions, and in how many of them each is."""
    known: dict[str, int] = {}
    for name, number in versions.items():
        row = _version(tx, project_id, name, number)
        for part in tx.all(_NAMES, (row["id"],)) if row else ():
            known[part["name"]] = known.get(part["name"], 0) + 1
    return known


def measure(
    tx: Transaction, run: RunState, sampled: Iterable[str], sample: IndexRanges, versions: Mapping[str, int | None], failed: int
) -> tuple[dict[str, Measured], SampleCounts]:
    """By data set, and of the sample as a whole."""
    bodies = {name: _bodies(tx, run, name, sample) for name in sampled}
    counts = SampleCounts(
        len(sample),
        failed,
        sum(_whole(_records(body).get("total")) for rows in bodies.values() for body in rows.values()),
        sum(_whole(_records(body).get("bad")) for rows in bodies.values() for body in rows.values()),
    )
    made: dict[str, Measured] = {}
    for dataset, (stage, output) in written_by_sample(run.document).items():
        set_id = run.stages[stage].row["set_id"]
        names = partitions.names(tx, ((set_id, index) for index in sample))
        parts = {names[set_id, index][0]: _output(bodies[stage].get(index), output) for index in sample}
        made[dataset] = _beside(tx, run.row["project_id"], dataset, versions.get(dataset), parts)
    return made, counts


def _bodies(tx: Transaction, run: RunState, stage: str, sample: IndexRanges) -> dict[int, dict[str, Any]]:
    rows = [row for jobs, some in sources(tx, run.stages[stage].row, sample) for row in tx.all(_BODIES, (jobs, some.to_postgres()))]
    return {row["index"]: row["body"] for row in rows if isinstance(row["body"], dict)}


def _beside(tx: Transaction, project_id: int, dataset: str, number: int | None, parts: Mapping[str, dict[str, Any] | None]) -> Measured:
    measured = Measured(Total(), number)
    for part in parts.values():
        if part is not None:
            measured.whole.add(part)
    version = _version(tx, project_id, dataset, number)
    old = {row["name"]: row for row in tx.all(_PARTS, (version["id"], list(parts)))} if version else {}
    described = _described_before(tx, old.values())
    for name, row in old.items():
        new = parts[name]
        counts = {"files": row["files"], "bytes": row["size"], "records": row["records"], "schema": {}, "statistics": {}}
        measured.both += 1
        measured.old.add(counts)
        if new is not None:
            measured.new.add(new)
        before = described.get(bytes(row["digest"]))
        if before is not None:
            measured.described += 1
            measured.old_described.add(before)
            if new is not None:
                measured.new_described.add(new)
    return measured


def _described_before(tx: Transaction, rows: Iterable[Mapping[str, Any]]) -> dict[bytes, dict[str, Any]]:
    """What tasks said of these parts, by digest."""
    places: list[tuple[int, int]] = []
    wanted: set[bytes] = set()
    for row in rows:
        by = row["made_by"] or {}
        index = by.get("index") or 0
        try:
            job = decode_job_id(by.get("job") or "")
        except ValueError:
            continue
        if index > INDEX_LIMIT:  # it is what a task said
            continue
        places.append((job, index))
        wanted.add(bytes(row["digest"]))
    found: dict[bytes, dict[str, Any]] = {}
    for row in tx.all(_DESCRIBED, ([job for job, _ in places], [index for _, index in places])) if places else ():
        part = _described(row["output"])
        if part is not None and (digest := bytes.fromhex(part["digest"].removeprefix("sha256:"))) in wanted:
            found[digest] = part
    return found


def _output(body: Mapping[str, Any] | None, name: str) -> dict[str, Any] | None:
    outputs = (body or {}).get("outputs")
    return _described(outputs.get(name)) if isinstance(outputs, Mapping) else None


def _described(output: Any) -> dict[str, Any] | None:
    """A descriptor of a part with every field; None if it is none."""
    try:
        part = PartDescriptor.model_validate(output, strict=True)
    except ValidationError:
        return None
    return {**part.model_dump(include={"digest", "files", "bytes", "records", "statistics"}), "schema": part.schema_}


def _version(tx: Transaction, project_id: int, name: str, number: int | None) -> dict[str, Any] | None:
    rows = datasets.find(tx, [project_id], name) if number is not None else []
    return datasets.version(tx, rows[0]["id"], number=number) if rows else None


def _records(body: Mapping[str, Any]) -> Mapping[str, Any]:
    records = body.get("records")
    return records if isinstance(records, Mapping) else {}


def _whole(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 2**53 else 0
