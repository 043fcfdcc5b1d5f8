"""Which stages of a pipeline a canary is about.

Guarantees: a function of the document alone. Every stage is of one kind: its sample is done first (`sampled`), it must be whole before
the sample can be done (`before`), or it waits for the gates (`held`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bushel.domain.errors import FieldProblem
from bushel.spec.pipeline_canonical import ONCE, PIPELINE_PARTITIONS, needed_by, no_stage, space_of
from bushel.spec.problems import pointer


@dataclass(frozen=True, slots=True)
class CanaryStages:
    """By name, in the order of the document."""

    space: str
    sampled: tuple[str, ...]
    before: tuple[str, ...]
    held: tuple[str, ...]


def canary_space(pipeline: Mapping[str, Any]) -> str:
    """The partitions that are sampled; `ONCE` where there are none."""
    of = pipeline["canary"].get("of")
    if of is not None:
        return space_of(pipeline, of)
    partitions = pipeline.get("partitions") or {}
    return partitions.get("discovered_by", PIPELINE_PARTITIONS) if partitions else ONCE


def canary_stages(pipeline: Mapping[str, Any]) -> CanaryStages:
    """Of a canonical document that has a canary."""
    space = canary_space(pipeline)
    of_sample: set[str] = set()  # made of something of the sampled partitions, or of such partitions themselves
    sampled: list[str] = []
    for name, stage in pipeline["stages"].items():
        inside = space_of(pipeline, name) == space
        if inside or any(need in of_sample for need in needed_by(pipeline, name)):
            of_sample.add(name)
        if inside and all(edge["stage"] in sampled if edge["stage"] in of_sample else True for edge in stage["after"]):
            whole = any(edge["edge"] == "all" and edge["stage"] in of_sample for edge in stage["after"])
            sampled += [] if whole else [name]
    before: set[str] = set()
    for name in reversed(pipeline["stages"]):
        if name in sampled or name in before:
            before |= {need for need in needed_by(pipeline, name) if need not in sampled}
    first = tuple(name for name in pipeline["stages"] if name in before)
    held = tuple(name for name in pipeline["stages"] if name not in sampled and name not in before)
    return CanaryStages(space, tuple(sampled), first, held)


def written_by_sample(pipeline: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The data sets that sampled stages write: name → stage and output."""
    stages = canary_stages(pipeline).sampled
    return {dataset: (name, output) for name in stages for output, dataset in pipeline["stages"][name].get("outputs", {}).items()}


def check_canary(pipeline: Mapping[str, Any], problems: list[FieldProblem]) -> None:
    """The rules between its fields and the rest of a document whose edges are in order."""
    canary = pipeline["canary"]
    chosen = [name for name in ("count", "share", "partitions") if name in canary]
    if len(chosen) != 1:
        problems.append(FieldProblem("/canary", "needs one of `count`, `share` and `partitions`", "conflict", "count: 5"))
    if "of" in canary and canary["of"] not in pipeline["stages"]:
        problems.append(FieldProblem("/canary/of", no_stage(canary["of"], pipeline["stages"]), "not_found"))
        return
    if canary_space(pipeline) == ONCE:
        sentence = "has nothing to sample: there is one partition only. Name a stage that has several in `of`"
        problems.append(FieldProblem("/canary/of" if "of" in canary else "/canary", sentence, "conflict"))
        return
    if not canary_stages(pipeline).sampled:
        sentence = "no stage runs for these partitions before all of them are done: name another stage in `of`"
        problems.append(FieldProblem("/canary", sentence, "conflict"))
        return
    written = written_by_sample(pipeline)
    for name in canary.get("data_sets", {}):
        if name not in written:
            known = ", ".join(written) or "none"
            sentence = f"no stage of the sample writes {name}; they write: {known}"
            problems.append(FieldProblem(pointer(("canary", "data_sets", name)), sentence, "not_found"))
    needs_data = [name for name in canary.get("gates", {}) if name not in ("bad_records", "failed")]
    if needs_data and not written:
        sentence = "no stage of the sample declares `outputs`: there is nothing to measure"
        problems.append(FieldProblem(pointer(("canary", "gates", needs_data[0])), sentence, "conflict"))
