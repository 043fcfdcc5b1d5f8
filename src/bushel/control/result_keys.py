"""What the result of a partition depends on, as one key; and where an equal one has been made before.

Guarantees: never a stale hit. A key holds the code (command, setup, workdir, the name of its version), the environment (image,
variables, secrets by name and time of change), the parameters, the partition, and the digest of all that it is made of; where one of
these is not known there is no key, and so no hit. A key is of one project, so results are shared within it and never beyond.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from bushel.domain.ranges import IndexRanges
from bushel.store.database import Transaction

PARTS = ("code", "environment", "parameters")
_CODE = ("run", "setup", "workdir", "code", "nodes")
_ENVIRONMENT = ("image", "env", "secrets")


def stage_parts(name: str, stage: Mapping[str, Any], parameters: Mapping[str, str], secret_times: Mapping[str, str]) -> dict[str, str]:
    """What a result depends on whichever the partition, as digests by the name of the part."""
    groups = [{name: group.get(name) for name in ("name", "count", "run", "setup", "image", "env")} for group in stage.get("groups", ())]
    times = {name: secret_times.get(name, "") for name in stage.get("secrets", ())}
    return {
        "code": digest_text(
            {"stage": name, **{field: stage.get(field) for field in _CODE}, "groups": groups, "outputs": sorted(stage.get("outputs", {}))}
        ),
        "environment": digest_text({**{name: stage.get(name) for name in _ENVIRONMENT}, "times": times}),
        "parameters": digest_text(dict(sorted(parameters.items()))),
    }


def digest_text(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def may_be_shared(stage: Mapping[str, Any]) -> bool:
    """Whether results of this stage are kept for others at all."""
    return stage["cache"] == "always" or (stage["cache"] == "auto" and "outputs" in stage)


def key_of(
    project_id: int,
    stage: Mapping[str, Any],
    parts: Mapping[str, str],
    partition: str,
    partition_digest: str | None,
    inputs: Mapping[str, str | None],
) -> bytes | None:
    """`inputs` are the digests of all that it is made of, by name; None where one is not known."""
    unknown = any(digest is None for digest in inputs.values()) or (not inputs and partition_digest is None)
    if unknown and stage["cache"] != "always":
        return None
    depends_on = [project_id, [parts[name] for name in PARTS], partition, partition_digest, sorted(inputs.items())]
    return hashlib.sha256(json.dumps(depends_on, separators=(",", ":")).encode()).digest()


def result_digest(body: Mapping[str, Any] | None, key: bytes | None) -> bytes | None:
    """Of what a partition came to: of its content where the task said so for each of its outputs, else of all that it depends on."""
    outputs = (body or {}).get("outputs")
    if isinstance(outputs, Mapping) and outputs:
        digests = {name: output.get("digest") if isinstance(output, Mapping) else None for name, output in outputs.items()}
        if all(isinstance(digest, str) and digest for digest in digests.values()):
            return hashlib.sha256(json.dumps(sorted(digests.items())).encode()).digest()
    return None if key is None else hashlib.sha256(b"key:" + key).digest()


RESULTS_OF = """
    from unnest(%s::bigint[]) j (job_id), unnest(%s::int4multirange) r, lateral (
        select * from element_results e where e.job_id = j.job_id and e.index >= lower(r) and e.index < upper(r) offset 0
    ) e
"""
"""Results of jobs at some indices, range by range of the key: what else there is of these jobs is not looked at, however they grow."""

_DIGESTS = f"select index, digest {RESULTS_OF} where digest is not null"

_JOBS = "select job_id from stage_jobs where stage_id = %s"


def digests(tx: Transaction, stage: Mapping[str, Any], indices: IndexRanges) -> dict[int, bytes]:
    """What these partitions came to in a stage, where that is known; those that were carried over from earlier runs too."""
    found: dict[int, bytes] = {}
    for jobs, some in sources(tx, stage, indices):
        found |= {row["index"]: row["digest"] for row in tx.all(_DIGESTS, (jobs, some.to_postgres()))}
    return found


def sources(tx: Transaction, stage: Mapping[str, Any], indices: IndexRanges) -> list[tuple[list[int], IndexRanges]]:
    """The jobs in which these partitions of a stage were done: in its own run, or the one that it was carried over from, and so on."""
    made: list[tuple[list[int], IndexRanges]] = []
    current: Mapping[str, Any] | None = stage
    while current is not None and indices:
        own = indices - current["carried"]
        if own:
            made.append(([row["job_id"] for row in tx.all(_JOBS, (current["id"],))], own))
        indices = indices & current["carried"]
        current = _stage(tx, current["base_stage_id"]) if current["base_stage_id"] is not None else None
    return made


def _stage(tx: Transaction, stage_id: int) -> dict[str, Any] | None:
    row = tx.first("select id, run_id, name, base_stage_id, carried::text as carried, parts from run_stages where id = %s", (stage_id,))
    return None if row is None else {**row, "carried": IndexRanges.from_postgres(row["carried"])}


def input_digests(
    tx: Transaction,
    stage: Mapping[str, Any],
    upstream: Mapping[str, tuple[Mapping[str, Any], int]],
    data_sets: Mapping[str, Any],
    indices: IndexRanges,
) -> list[tuple[int, dict[str, str | None]]]:
    """For each index, the digest of everything that it is made of. `upstream` has the row and the length of each stage before."""
    shared: dict[str, str | None] = {f"input {name}": given.get("digest") for name, given in data_sets.items()}
    single: list[tuple[Mapping[str, Any], dict[int, bytes], int]] = []
    for edge in stage["after"]:
        row, count = upstream[edge["stage"]]
        everything = IndexRanges(((0, count),)) if count else IndexRanges()
        if edge["edge"] == "all":
            known = digests(tx, row, everything)
            whole = hashlib.sha256(b"".join(known[index] for index in sorted(known))).hexdigest()
            shared[f"stage {edge['stage']}"] = whole if len(known) == count else None
        else:
            wanted = widened(edge, indices, count)
            single.append((edge, digests(tx, row, wanted), count))
    return [
        (index, {**shared, **{f"stage {edge['stage']}": _window(edge, known, index, n) for edge, known, n in single}}) for index in indices
    ]


def widened(edge: Mapping[str, Any], indices: IndexRanges, count: int) -> IndexRanges:
    """What of the stage before these indices are made of."""
    before, after = edge.get("before", 0), edge.get("after", 0)
    return IndexRanges.of((max(0, start - before), min(count, stop + after)) for start, stop in indices.parts)


def _window(edge: Mapping[str, Any], known: Mapping[int, bytes], index: int, count: int) -> str | None:
    if edge["edge"] == "one-to-one":
        return known[index].hex() if index in known else None
    wanted = range(max(0, index - edge["before"]), min(count, index + edge["after"] + 1))
    if any(number not in known for number in wanted):
        return None
    return hashlib.sha256(b"".join(known[number] for number in wanted)).hexdigest()


_HITS = """
    select distinct on (r.key) r.key, r.job_id, r.index, r.attempt, r.body, r.names, r.digest, r.bad_count,
           r.made_job_id, r.made_index
    from element_results r where r.key = any(%s) order by r.key, r.job_id desc
"""


def find_results(tx: Transaction, keys: Sequence[bytes]) -> dict[bytes, dict[str, Any]]:
    """The newest result of each key."""
    return {bytes(row["key"]): row for row in tx.all(_HITS, (list(keys),))} if keys else {}


_WRITE = """
    insert into element_results (job_id, index, attempt, body, names, key, digest, bad_count, made_job_id, made_index)
    select n.job_id, n.index, n.attempt, n.body, n.names, n.key, n.digest, n.bad_count, n.made_job_id, n.made_index
    from unnest(
        %s::bigint[], %s::int[], %s::int[], %s::jsonb[], %s::text[], %s::bytea[], %s::bytea[], %s::bigint[], %s::bigint[], %s::int[]
    ) n (job_id, index, attempt, body, names, key, digest, bad_count, made_job_id, made_index)
    on conflict (job_id, index) do update set key = excluded.key, digest = excluded.digest
"""


def write_results(tx: Transaction, rows: Sequence[tuple[Any, ...]]) -> None:
    """Job, index, attempt, body (as JSON), names, key, digest, bad count, and job and index of the element that did the work, if that
    is another. Of one that is there already: its key and digest.
    """
    if rows:
        tx.execute(_WRITE, [list(column) for column in zip(*rows, strict=True)])
