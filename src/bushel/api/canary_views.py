"""Canaries of runs and of plans as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bushel.control.canary import NAMES_KEPT, choose
from bushel.control.canary_gates import gates_told
from bushel.control.canary_measures import new_canary, partitions_of_versions
from bushel.control.runs import known_partitions
from bushel.domain.ranges import IndexRanges
from bushel.domain.words import plural
from bushel.spec.canary_stages import canary_stages
from bushel.store import pipelines, runs
from bushel.store.database import Transaction

NO_SAMPLE = "there was nothing to sample"


def canary_view(row: Mapping[str, Any], done: int | None = None) -> dict[str, Any] | None:
    """Of a run; `done` of its sample, where that is known."""
    canary = row["canary"]
    if canary is None:
        return None
    sample = canary["sample"] or {"count": None, "of": None, "names": []}
    view: dict[str, Any] = {
        "state": canary["state"],
        **{"count": sample["count"], "of": sample["of"], "done": done, "partitions": sample["names"]},
        "compared_with": canary["compared_with"],
        "gates": canary["outcomes"],
        "approved": canary.get("approved"),
    }
    return view | {"sentence": _sentence(view, row)}


def done_of_sample(tx: Transaction, row: Mapping[str, Any], counted: Mapping[int, Mapping[str, Any]]) -> int | None:
    """How many partitions of the sample have ended in all of its stages, while it is done."""
    canary = row["canary"]
    if canary is None or canary["state"] != "sampling" or not canary["sample"]:
        return None
    sample = IndexRanges.from_postgres(canary["sample"]["indices"])
    sampled = canary_stages(pipelines.document(tx, row["pipeline_id"], row["version"]) or {}).sampled
    ended = sample
    for stage in runs.stages(tx, [row["id"]]):
        if stage["name"] in sampled:
            jobs = counted.get(stage["id"], {}).get("jobs", [])
            ended = ended & runs.finished(tx, jobs, sample, on_end=True) if jobs else IndexRanges()
    return len(ended)


def _sentence(view: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    count, gates = view["count"], len(view["gates"])
    if view["state"] == "failed":
        return row["message"] or "a gate did not hold"
    if view["approved"] is not None:
        return f"{view['approved']['by']} let it pass: {view['approved']['message']}"
    if view["state"] == "passed":
        versions = ", ".join(f"{name} version {number}" for name, number in view["compared_with"].items() if number is not None)
        beside = f", compared with {versions}" if versions else ""
        return f"{plural(gates, 'gate')} held over {count:,} of {plural(view['of'], 'partition')}{beside}" if count else NO_SAMPLE
    if row["ended_at"] is not None:
        return "the run ended before its sample was judged"
    if count is None:
        return "the sample is chosen when its partitions are known"
    done = f"{view['done'] or 0:,} of {plural(count, 'partition')} of the sample {'are' if count != 1 else 'is'} done"
    rest = view["of"] - count
    return f"{done}; {rest:,} {'wait' if rest != 1 else 'waits'} for its gates" if rest else done


def canary_plan_view(tx: Transaction, project_id: int, document: Mapping[str, Any]) -> dict[str, Any] | None:
    """Of a document that is not applied yet."""
    noted = new_canary(tx, project_id, document)
    if noted is None:
        return None
    stages, canary = canary_stages(document), document["canary"]
    known = known_partitions(tx, document, stages.space)
    names, count = [], None
    if known is not None and known.names:
        versions = partitions_of_versions(tx, project_id, noted["compared_with"])
        sample = choose(canary, known.names, IndexRanges(((0, len(known.names)),)), versions)
        names, count = [known.names[index] for index in sample.first(NAMES_KEPT)], len(sample)
    view: dict[str, Any] = {
        **{"partitions": names, "count": count, "sampled": list(stages.sampled), "before": list(stages.before), "held": list(stages.held)},
        "gates": gates_told(canary),
        "compared_with": noted["compared_with"],
    }
    return view | {"sentence": _plan_sentence(view, len(known.names) if known else None)}


def _plan_sentence(view: Mapping[str, Any], total: int | None) -> str:
    first = "a sample of the listed partitions" if total is None else f"{view['count'] or 0:,} of {plural(total, 'partition')}"
    gates = len(view["gates"])
    holding = f"{plural(gates, 'gate')} {'hold' if gates != 1 else 'holds'}"
    return f"{first} first, through {', '.join(view['sampled'])}; then the rest, if {holding}"
