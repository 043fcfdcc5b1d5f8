"""Why a partition was done in a run: what of all that its result depends on is other than in the run before.

Guarantees: it compares the very parts that keys are made of, so what it says is why there was, or was not, a hit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bushel.control.made_by import makers
from bushel.control.result_keys import PARTS, input_digests, may_be_shared
from bushel.domain.errors import NotFound
from bushel.domain.ranges import IndexRanges
from bushel.store import partitions, pipelines, runs
from bushel.store.database import Transaction

RUNS_LOOKED_AT = 20


def why(tx: Transaction, run: Mapping[str, Any], document: Mapping[str, Any], stage: str, partition: str) -> dict[str, Any]:
    """
    Raises:
        NotFound: the run has no such stage, or the stage no such partition.
    """
    found = _one(tx, run, document, stage, partition)
    if found is None:
        raise NotFound(
            f"run {run['number']} has no partition {partition} in a stage {stage}",
            suggestion=f"bushel pipeline partitions {run['pipeline']} {stage}"
            if stage in document["stages"]
            else f"one of {', '.join(document['stages'])}",
        )
    row, index, depends = found
    definition = document["stages"][stage]
    view: dict[str, Any] = {"stage": stage, "partition": partition, "cache": definition["cache"]}
    view |= {"taken_over": False, "made_by": None, "compared_with": None, "changed": [], "unknown": []}
    carried = index in row["carried"]
    if carried or _taken_over(tx, row["id"], index):
        maker = makers(tx, row, IndexRanges(((index, index + 1),))).get(index)
        return view | {"taken_over": True, "made_by": maker, "sentence": _taken_over_from(maker, carried)}
    view["unknown"] = sorted(name for name, digest in depends.items() if digest is None)
    number, earlier = _earlier(tx, run, stage, partition)
    if earlier is None:
        return view | {"sentence": f"no earlier run has a result of {stage} for {partition}"}
    view |= {"compared_with": number, "changed": [name for name in {**depends, **earlier} if depends.get(name) != earlier.get(name)]}
    return view | {"sentence": _sentence(view, may_be_shared(definition), number)}


def _taken_over_from(maker: Mapping[str, Any] | None, carried: bool) -> str:
    how = (
        "it stands from the run that this one does again"
        if carried
        else "nothing that it depends on had changed: its result was taken over"
    )
    if maker is None:
        return how
    return f"{how}; attempt {maker['attempt']} of run {maker['run']} of {maker['pipeline']} made it, on {maker['cluster']}"


def _sentence(view: Mapping[str, Any], shared: bool, number: int | None) -> str:
    if not shared:
        how = "says `cache: never`" if view["cache"] == "never" else "declares no `outputs`"
        return f"results of {view['stage']} are not shared: it {how}"
    if view["changed"]:
        return f"since run {number} changed: {', '.join(view['changed'])}"
    if view["unknown"]:
        return f"what it is made of is not known by content: {', '.join(view['unknown'])}"
    return f"nothing has changed since run {number}, which had not finished it by then"


def _earlier(tx: Transaction, run: Mapping[str, Any], stage: str, partition: str) -> tuple[int | None, dict[str, str | None] | None]:
    for row in runs.page(tx, run["pipeline_id"], run["number"], RUNS_LOOKED_AT):
        document = pipelines.document(tx, row["pipeline_id"], row["version"])
        found = None if document is None else _one(tx, row, document, stage, partition)
        if found is not None and _was_done(tx, found[0]["id"], found[1]):
            return row["number"], found[2]
    return None, None


def _one(
    tx: Transaction, run: Mapping[str, Any], document: Mapping[str, Any], stage: str, partition: str
) -> tuple[dict[str, Any], int, dict[str, str | None]] | None:
    """The stage's row, the partition's index, and all that the result depends on, by name."""
    rows = {row["name"]: row for row in runs.stages(tx, [run["id"]])}
    row = rows.get(stage)
    if row is None or row["set_id"] is None or stage not in document["stages"]:
        return None
    index = partitions.indices(tx, row["set_id"], [partition]).get(partition)
    if index is None:
        return None
    upstream = {name: (other, other["element_count"] or 0) for name, other in rows.items()}
    data_sets = run["inputs"].get(stage, {}).get("inputs") or {}
    one = IndexRanges(((index, index + 1),))
    inputs = input_digests(tx, document["stages"][stage], upstream, data_sets, one)[0][1]
    depends: dict[str, str | None] = {name: row["parts"][name] for name in PARTS} | inputs
    digest = partitions.names(tx, [(row["set_id"], index)])[row["set_id"], index][1]
    if not inputs or digest is not None:
        depends["partition"] = digest
    return row, index, depends


_TAKEN = """
    select 1 from element_results e join stage_jobs sj on sj.job_id = e.job_id where sj.stage_id = %s and e.index = %s and e.attempt = 0
"""

_DONE = """
    select 1 from array_results a join stage_jobs sj on sj.job_id = a.job_id
    where sj.stage_id = %s and a.chunk = %s / 4096 and a.succeeded @> %s::int
"""


def _taken_over(tx: Transaction, stage_id: int, index: int) -> bool:
    return tx.first(_TAKEN, (stage_id, index)) is not None


def _was_done(tx: Transaction, stage_id: int, index: int) -> bool:
    return tx.first(_DONE, (stage_id, index, index)) is not None
