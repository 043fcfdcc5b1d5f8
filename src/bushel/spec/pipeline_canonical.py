"""The canonical form of a pipeline document: every default filled in, stages in an order in which none comes before what it needs.

Guarantees: `canonical_pipeline` either returns such a document or raises `InvalidDocument` that names every field at fault; a canonical
document is its own canonical form. Each stage holds the fields of its job in their canonical form, the pipeline's `defaults` merged in;
each edge says its kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from bushel.domain.errors import FieldProblem, InvalidDocument
from bushel.domain.job import PRIORITY_NAMES, PRIORITY_NORMAL
from bushel.spec.canonical import canonical
from bushel.spec.pipeline import PARTITIONS_LIMIT, PIPELINE, PIPELINE_FIELDS_AT, WORK_FIELDS
from bushel.spec.problems import MOST_PROBLEMS, field_problems, pointer

PIPELINE_PARTITIONS, ONCE = "*", ""
"""Which partitions stages have in common: those of the pipeline, and the single one."""

_MERGED = ("env", "labels", "resources", "retry", "preemption", "placement")
_NOT_OF_A_STAGE = ("name", "priority")


def canonical_pipeline(document: Any) -> dict[str, Any]:
    """
    Raises:
        InvalidDocument: it breaks its schema or a rule between fields.
    """
    try:
        pipeline: dict[str, Any] = PIPELINE.validate_python(document)  # type: ignore[assignment]
    except ValidationError as error:
        raise InvalidDocument(field_problems(error, PIPELINE_FIELDS_AT)) from None
    problems: list[FieldProblem] = []
    stages = {name: _stage(name, stage, pipeline.get("defaults", {}), problems) for name, stage in pipeline["stages"].items()}
    if problems:
        raise InvalidDocument(problems[:MOST_PROBLEMS])
    made = {**pipeline, "stages": stages}
    made.pop("defaults", None)
    _partitions(made, problems)
    _priorities(made, problems)
    _edges(made, problems)
    if problems:
        raise InvalidDocument(problems[:MOST_PROBLEMS])
    made["stages"] = {name: stages[name] for name in _ordered(stages, made)}
    if "canary" in made:
        _canary(made, problems)
    if problems:
        raise InvalidDocument(problems[:MOST_PROBLEMS])
    for name in ("parameters", "limits", "bad_records", "description"):
        if name in made and not made[name]:
            del made[name]
    return made


def space_of(pipeline: Mapping[str, Any], stage: str) -> str:
    """Stages with the same one have the same partitions: `ONCE`, `PIPELINE_PARTITIONS`, `STAGE` for those that STAGE lists,
    or `=STAGE` for those that only STAGE has.
    """
    own = pipeline["stages"][stage]
    if own.get("once"):
        return ONCE
    partitions = own.get("partitions") or pipeline.get("partitions")
    if not partitions:
        return ONCE
    if "discovered_by" in partitions:
        return partitions["discovered_by"]
    return f"={stage}" if "partitions" in own else PIPELINE_PARTITIONS


def partitions_of(pipeline: Mapping[str, Any], space: str) -> Mapping[str, Any]:
    """What the document says of the partitions of a space that is known before a run; nothing for `ONCE`."""
    if space == PIPELINE_PARTITIONS:
        return pipeline["partitions"]
    return pipeline["stages"][space[1:]]["partitions"] if space.startswith("=") else {}


def needed_by(pipeline: Mapping[str, Any], stage: str) -> list[str]:
    """The stages that must come before: those of its edges, and the one that lists its partitions."""
    needs = dict.fromkeys(edge["stage"] for edge in pipeline["stages"][stage]["after"])
    space = space_of(pipeline, stage)
    if space in pipeline["stages"]:
        needs[space] = None
    return list(needs)


def job_of(stage: Mapping[str, Any]) -> dict[str, Any]:
    """The canonical document of the stage's job; without name, priority and array."""
    return {name: stage[name] for name in WORK_FIELDS if name in stage}


def window_count(windows: Mapping[str, Any], now: datetime) -> int:
    """How many windows of time are over, or end by `end`."""
    start = datetime.fromisoformat(windows["start"])
    end = datetime.fromisoformat(windows["end"]) if "end" in windows else now
    return max(0, int((end - start) / timedelta(seconds=windows["every"])))


def window_name(windows: Mapping[str, Any], number: int) -> str:
    """The beginning of a window, as short as it can be told apart."""
    at = datetime.fromisoformat(windows["start"]) + timedelta(seconds=windows["every"] * number)
    text = at.isoformat().replace("+00:00", "Z")
    return text.removesuffix("T00:00:00Z") if windows["every"] % 86400 == 0 else text


def _stage(name: str, stage: dict[str, Any], defaults: Mapping[str, Any], problems: list[FieldProblem]) -> dict[str, Any]:
    place = ("stages", name)
    written = {field: stage[field] for field in WORK_FIELDS if field in stage}
    job = {
        field: {**defaults[field], **written[field]} if field in _MERGED and field in written and field in defaults else value
        for field, value in {**defaults, **written}.items()
    }
    try:
        job = canonical(job, place)
    except InvalidDocument as error:
        problems.extend(error.problems)
    made = {field: value for field, value in job.items() if field not in _NOT_OF_A_STAGE}
    made |= {field: value for field, value in stage.items() if field not in WORK_FIELDS}
    if not made.get("once"):
        made.pop("once", None)
    elif "partitions" in made:
        problems.append(FieldProblem(pointer((*place, "partitions")), "a stage that runs `once` has no partitions", "conflict"))
    made.setdefault("after", [])
    made.setdefault("cache", "auto")
    for field in ("inputs", "outputs", "bad_records"):
        if field in made and not made[field]:
            del made[field]
    return made


def _partitions(pipeline: dict[str, Any], problems: list[FieldProblem]) -> None:
    places = [((), pipeline)] + [(("stages", name), stage) for name, stage in pipeline["stages"].items()]
    for above, holder in places:
        partitions, place = holder.get("partitions"), (*above, "partitions")
        if partitions is None:
            continue
        if len(partitions) != 1:
            problems.append(FieldProblem(pointer(place), "needs one of `list`, `windows` and `discovered_by`", "conflict"))
            continue
        if "list" in partitions:
            _insist_unique(partitions["list"], (*place, "list"), problems)
        elif "discovered_by" in partitions:
            lister = partitions["discovered_by"]
            if lister not in pipeline["stages"]:
                problems.append(FieldProblem(pointer((*place, "discovered_by")), no_stage(lister, pipeline["stages"]), "not_found"))
            elif space_of(pipeline, lister) == lister:
                sentence = f"{lister} cannot run for partitions that it lists itself: give it `once: true`"
                problems.append(FieldProblem(pointer((*place, "discovered_by")), sentence, "conflict", "once"))
        else:
            _check_windows(partitions["windows"], (*place, "windows"), problems)


def _insist_unique(partitions: list[dict[str, Any]], place: tuple[str | int, ...], problems: list[FieldProblem]) -> None:
    seen: set[str] = set()
    for number, partition in enumerate(partitions):
        if partition["name"] in seen:
            problems.append(FieldProblem(pointer((*place, number)), f"the partition {partition['name']} stands here twice"))
        seen.add(partition["name"])


def _check_windows(windows: dict[str, Any], place: tuple[str | int, ...], problems: list[FieldProblem]) -> None:
    if "end" not in windows:
        return
    count = window_count(windows, datetime.fromisoformat(windows["end"]))
    if count < 1:
        problems.append(FieldProblem(pointer((*place, "end")), "must be at least one window after the start"))
    elif count > PARTITIONS_LIMIT:
        problems.append(FieldProblem(pointer(place), f"{count:,} windows; the most is {PARTITIONS_LIMIT:,}", "too_long"))


def _priorities(pipeline: dict[str, Any], problems: list[FieldProblem]) -> None:
    fresh = pipeline.setdefault("priority", PRIORITY_NORMAL)
    if pipeline.setdefault("backfill_priority", min(PRIORITY_NAMES["low"], fresh)) > fresh:
        problems.append(FieldProblem("/backfill_priority", f"must be at most the priority of fresh data, {fresh}"))


def _edges(pipeline: dict[str, Any], problems: list[FieldProblem]) -> None:
    stages = pipeline["stages"]
    for name, stage in stages.items():
        seen: set[str] = set()
        for number, edge in enumerate(stage["after"]):
            place = ("stages", name, "after", number)
            before = edge["stage"]
            if before not in stages:
                problems.append(FieldProblem(pointer(place), no_stage(before, stages), "not_found"))
                continue
            if before in seen:
                problems.append(FieldProblem(pointer(place), f"{before} stands here twice"))
            seen.add(before)
            if _unknown_space(pipeline, name) or _unknown_space(pipeline, before):
                continue
            same = space_of(pipeline, name) == space_of(pipeline, before)
            kind = edge.setdefault("edge", "one-to-one" if same else "all")
            edge.setdefault("on", "success")
            if kind != "all" and not same:
                sentence = f"{name} and {before} have different partitions: {kind} needs the same. Leave `edge` out, or write all"
                problems.append(FieldProblem(pointer((*place, "edge")), sentence, "conflict", "all"))
            if kind != "window" and ("before" in edge or "after" in edge):
                problems.append(FieldProblem(pointer(place), "`before` and `after` are of a window: write edge: window", "conflict"))
            if kind == "window":
                edge.setdefault("before", 0)
                edge.setdefault("after", 0)


def _canary(pipeline: dict[str, Any], problems: list[FieldProblem]) -> None:
    from bushel.spec.canary_stages import check_canary  # which asks this module for the partitions of stages

    pipeline["canary"] = {name: value for name, value in pipeline["canary"].items() if value != {}}
    check_canary(pipeline, problems)


def no_stage(name: str, stages: Mapping[str, Any]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, stages, n=1)
    return f"there is no stage {name}" + (f". Did you mean {close[0]}?" if close else "")


def _unknown_space(pipeline: Mapping[str, Any], stage: str) -> bool:
    partitions = pipeline["stages"][stage].get("partitions") or pipeline.get("partitions") or {}
    return "discovered_by" in partitions and partitions["discovered_by"] not in pipeline["stages"]


def _ordered(stages: Mapping[str, Any], pipeline: Mapping[str, Any]) -> list[str]:
    """As they are written, as far as what they need allows.

    Raises:
        InvalidDocument: they need each other in a circle.
    """
    needs = {name: needed_by(pipeline, name) for name in stages}
    done: dict[str, None] = {}
    waiting = list(stages)
    while waiting:
        free = [name for name in waiting if all(need in done for need in needs[name])]
        if not free:
            circle = ", ".join(waiting[:5])
            raise InvalidDocument(
                [FieldProblem(pointer(("stages", waiting[0], "after")), f"stages need each other in a circle: {circle}", "conflict")]
            )
        done[free[0]] = None
        waiting.remove(free[0])
    return list(done)
