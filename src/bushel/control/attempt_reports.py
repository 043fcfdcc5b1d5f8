"""Reports of attempts, read from what an agent sent.

Guarantees: what names no attempt or makes no sense is left out, absurd numbers and texts that are too long are cut or dropped, and
the rest goes on; nothing that an agent can send raises.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bushel.control.task_results import TaskResult, parse_result
from bushel.domain.foreign import LARGEST, clean_text, clean_value
from bushel.domain.ids import parse_attempt_id
from bushel.domain.lifecycle import AttemptState, Reason
from bushel.store.attempts import AttemptKey
from bushel.store.log_streams import LogRow
from bushel.store.logs import LogId

LONGEST_TEXT = 2000
LONGEST_PROGRESS_BYTES = 16 * 1024
LARGEST_USAGE = 2**50
"""A pebibyte; summed over all attempts of a job it still is a 64-bit number."""

USAGE = ("cpu_seconds", "peak_memory_bytes", "read_bytes", "written_bytes")
_LARGEST_INDEX = 2**31 - 1
_TEXTS = ("started_at", "ended_at")


@dataclass(frozen=True, slots=True)
class Report:
    """One attempt as its agent sees it, cleaned of what cannot be."""

    key: AttemptKey
    version: int
    state: AttemptState
    tasks: tuple[dict[str, Any], ...]
    progress: dict[str, Any] | None
    printed_nothing: bool = False  # its one task has ended, and its log with it
    result: TaskResult | None = None  # what its first rank wrote of what it came to

    @property
    def log(self) -> LogRow:
        """Of an attempt that printed nothing."""
        return LogRow(LogId(*self.key, 0), size_bytes=0, first_byte=0, ended=True)


def parse_reports(reports: Sequence[Mapping[str, Any]]) -> dict[AttemptKey, Report]:
    """The newest report of each attempt; those that name none or make no sense are left out."""
    parsed: dict[AttemptKey, Report] = {}
    for raw in reports:
        report = _parse(raw)
        if report is not None and (report.key not in parsed or parsed[report.key].version < report.version):
            parsed[report.key] = report
    return parsed


def _parse(raw: Mapping[str, Any]) -> Report | None:
    try:
        key = parse_attempt_id(str(raw["id"]))
        state, version = AttemptState(raw["state"]), raw["report_version"]
    except (KeyError, ValueError):
        return None
    if key[1] > _LARGEST_INDEX or key[2] > _LARGEST_INDEX or not _whole(version, LARGEST):
        return None
    tasks: dict[int, dict[str, Any]] = {}
    for task in raw.get("tasks", ()):
        if _whole(task.get("rank"), _LARGEST_INDEX) and str(task.get("state")) in _TASK_STATES:
            tasks.setdefault(task["rank"], _clean_task(task))
    printed_nothing = state is AttemptState.ENDED and [task.get("log_bytes") for task in raw.get("tasks", ())] == [0]
    said = next((task["result"] for task in raw.get("tasks", ()) if task.get("result") is not None), None)
    result = parse_result(said) if state is AttemptState.ENDED else None
    cleaned = tuple(tasks[rank] for rank in sorted(tasks))
    return Report(key, version, state, cleaned, _clean_progress(raw.get("progress")), printed_nothing, result)


_TASK_STATES = frozenset(AttemptState)
_REASONS = frozenset(Reason)


def _clean_task(task: Mapping[str, Any]) -> dict[str, Any]:
    clean: dict[str, Any] = {"rank": task["rank"], "state": task["state"]}
    for name in _TEXTS:
        if isinstance(task.get(name), str):
            clean[name] = clean_text(task[name], 64)
    if _whole(task.get("exit_code"), 255):
        clean["exit_code"] = task["exit_code"]
    if _whole(task.get("signal"), 64):
        clean["signal"] = task["signal"]
    if str(task.get("reason")) in _REASONS:
        clean["reason"] = task["reason"]
    if isinstance(task.get("message"), str) and task["message"]:
        clean["message"] = clean_text(task["message"], LONGEST_TEXT)
    usage = task.get("usage")
    if isinstance(usage, Mapping):
        clean["usage"] = {
            name: round(usage[name], 3) if name == "cpu_seconds" else int(usage[name]) for name in USAGE if _amount(usage.get(name))
        }
    return clean


def _clean_progress(progress: Any) -> dict[str, Any] | None:
    if not isinstance(progress, dict):
        return None
    clean = clean_value(progress)
    return clean if len(json.dumps(clean)) <= LONGEST_PROGRESS_BYTES else None


def _whole(value: Any, largest: int) -> bool:
    return type(value) is int and 0 <= value <= largest


def _amount(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value <= LARGEST_USAGE
