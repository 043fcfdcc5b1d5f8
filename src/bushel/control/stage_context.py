"""What a task of a stage is told of its run: further variables of its environment.

Guarantees: a few queries for all attempts of an answer together; only what was settled when the run began, and what finished stages made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from bushel.control.result_keys import RESULTS_OF
from bushel.domain.ranges import IndexRanges
from bushel.store import partitions
from bushel.store.database import Transaction

LONGEST_VARIABLE = 32 * 1024
"""What is longer is left out; it is in the data set."""

_RUNS = "select id, inputs from runs where id = any(%s)"

_OUTPUTS = """
    select run_id, name, outputs from run_stages where run_id = any(%s) and outputs is not null
"""

_STAGES = """
    select id, run_id, name, base_stage_id, carried::text as carried from run_stages where run_id = any(%s) and name = any(%s)
"""

_BODIES = f"select index, body -> 'outputs' as outputs {RESULTS_OF} where body ? 'outputs'"


def contexts(tx: Transaction, rows: Sequence[Mapping[str, Any]]) -> dict[tuple[int, int], dict[str, str]]:
    """By job and index, for those of these attempts (`job_id`, `index`, `spec`) that are of a stage."""
    stages = [(row["job_id"], row["index"], row["spec"]["stage"]) for row in rows if "stage" in row["spec"]]
    if not stages:
        return {}
    run_ids = sorted({stage["run_id"] for _, _, stage in stages})
    names = partitions.names(tx, {(stage["set"], index) for _, index, stage in stages})
    settled = {row["id"]: row["inputs"] for row in tx.all(_RUNS, (run_ids,))}
    made = {(row["run_id"], row["name"]): row["outputs"] for row in tx.all(_OUTPUTS, (run_ids,))}
    upstream = _upstream(tx, stages)
    told = {}
    for job_id, index, stage in stages:
        name, digest = names.get((stage["set"], index), (str(index), None))
        data = settled.get(stage["run_id"], {}).get(stage["stage"], {})
        inputs = dict(data.get("inputs") or {})
        for before in stage["after"]:
            inputs = {**(made.get((stage["run_id"], before)) or {}), **inputs}
        told[job_id, index] = {
            **_fixed(stage, index, name, digest),
            "BUSHEL_INPUTS": json.dumps(inputs),
            "BUSHEL_OUTPUTS": json.dumps(data.get("outputs") or {}),
            "BUSHEL_PLACES": json.dumps(_written_before(settled.get(stage["run_id"], {}), stage["upstream"])),
            "BUSHEL_UPSTREAM": json.dumps({before: upstream.get((stage["run_id"], before, index)) for before in stage["upstream"]}),
        }
    return told


def _written_before(settled: Mapping[str, Any], stages: Sequence[str]) -> dict[str, Any]:
    """Data sets that these stages write to, with their places: where to find what the same partition made there."""
    outputs = [(settled.get(stage) or {}).get("outputs") or {} for stage in stages]
    return {each["dataset"]: each for written in outputs for each in written.values()}


def _fixed(stage: Mapping[str, Any], index: int, name: str, digest: str | None) -> dict[str, str]:
    variables = {
        "BUSHEL_PIPELINE": stage["pipeline"],
        "BUSHEL_PIPELINE_VERSION": str(stage["version"]),
        "BUSHEL_RUN": str(stage["run"]),
        "BUSHEL_STAGE": stage["stage"],
        "BUSHEL_CODE": stage["code"],
        "BUSHEL_PARTITION": name,
        "BUSHEL_PARTITION_INDEX": str(index),
        "BUSHEL_PARTITION_COUNT": str(stage["count"]),
        "BUSHEL_PARTITION_DIGEST": digest or "",
        "BUSHEL_PARAMETERS": json.dumps(stage["parameters"]),
        **{f"BUSHEL_PARAMETER_{parameter.upper()}": value for parameter, value in stage["parameters"].items()},
    }
    if "every_seconds" in stage:
        start = datetime.fromisoformat(name if "T" in name else f"{name}T00:00:00+00:00")
        for bound, at in (("START", start), ("END", start + timedelta(seconds=stage["every_seconds"]))):
            variables[f"BUSHEL_PARTITION_{bound}"] = at.isoformat().replace("+00:00", "Z")
    return variables


def _upstream(tx: Transaction, stages: Sequence[tuple[int, int, Mapping[str, Any]]]) -> dict[tuple[int, str, int], Any]:
    """What the same partition wrote in the stages before, by run, stage and index."""
    from bushel.control.result_keys import sources

    wanted: dict[tuple[int, str], set[int]] = {}
    for _, index, stage in stages:
        for before in stage["upstream"]:
            wanted.setdefault((stage["run_id"], before), set()).add(index)
    if not wanted:
        return {}
    found: dict[tuple[int, str, int], Any] = {}
    for row in tx.all(_STAGES, (sorted({run for run, _ in wanted}), sorted({name for _, name in wanted}))):
        indices = wanted.get((row["run_id"], row["name"]))
        if indices is None:
            continue
        row["carried"] = IndexRanges.from_postgres(row["carried"])
        for jobs, some in sources(tx, row, IndexRanges.of_indices(indices)):
            for result in tx.all(_BODIES, (jobs, some.to_postgres())):
                if len(json.dumps(result["outputs"])) <= LONGEST_VARIABLE:
                    found[row["run_id"], row["name"], result["index"]] = result["outputs"]
    return found
