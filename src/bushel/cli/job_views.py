"""How jobs and attempts look to people."""

from __future__ import annotations

from bushel.cli.words import ago, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

STATE_STYLES = {
    "held": ("yellow",),
    "queued": ("yellow",),
    "starting": ("blue",),
    "running": ("blue",),
    "stopping": ("yellow",),
    "succeeded": ("green",),
    "failed": ("red",),
    "cancelled": ("dim",),
    "ended": ("dim",),
}

TERMINAL_STATES = frozenset({"succeeded", "failed", "cancelled"})

_REASONS = {
    "waiting": "",
    "dependency": "until other jobs have ended",
    "user_hold": "until it is released",
    "upstream": "for earlier stages",
}


def job_name(job: dict[str, Any]) -> str:
    return str(job["metadata"]["id"])


def state_style(job: dict[str, Any]) -> tuple[str, ...]:
    return STATE_STYLES.get(job["status"]["state"], ())


def is_array(job: dict[str, Any]) -> bool:
    """Also an array of one index; lists leave out the document that says so."""
    return job["status"]["counts"]["total"] > 1 or "array" in (job.get("spec") or {})


def gang_size(job: Mapping[str, Any]) -> int:
    """How many tasks start together; 1 without a gang."""
    spec = job.get("spec") or {}
    return spec.get("nodes") or sum(group.get("count", 1) for group in spec.get("groups") or []) or 1


def only_index(job: dict[str, Any]) -> int | None:
    """The index of an array of one; None for others."""
    text = str((job.get("spec") or {}).get("array", "")).partition("%")[0]
    return int(text) if text.isdigit() else None


def progress(job: dict[str, Any]) -> str:
    """`512/1,000 3 failed` of an array, `61 %` where a task says so, else nothing."""
    status = job["status"]
    counts = status["counts"]
    if counts["total"] > 1:
        text = f"{counts['succeeded'] + counts['failed'] + counts['cancelled']:,}/{counts['total']:,}"
        return text + (f" {counts['failed']:,} failed" if counts["failed"] else "")
    return task_progress(status.get("progress"))


def task_progress(told: Any) -> str:
    """What a task said of its progress: `61 % decode`, `40 of 100 clips`."""
    if not isinstance(told, dict):
        return ""
    done, total, parts = told.get("done"), told.get("total"), []
    if isinstance(done, int | float) and isinstance(total, int | float) and total > 0:
        parts.append(f"{100 * done / total:.0f} %")
    elif isinstance(done, int | float):
        parts.append(f"{done:,g} {told.get('unit', '')}".strip())
    if told.get("stage"):
        parts.append(str(told["stage"]))
    return plain(" ".join(parts))


def detail(job: dict[str, Any]) -> str:
    """Why it is in its state, in a few words."""
    status = job["status"]
    if status["state"] == "succeeded":
        return ""
    if status.get("message"):
        return plain(status["message"])
    if status.get("exit_code") not in (None, 0) and not (is_array(job) and status["state"] in ("starting", "running")):
        return f"exit code {status['exit_code']}"
    reason = status.get("reason") or ""
    return _REASONS.get(reason, reason.replace("_", " "))


def places(job: dict[str, Any]) -> str:
    """`laptop`, `r14-n03, r14-n07`, `r14-n03 and 7 more`."""
    nodes = list(dict.fromkeys(part["node"] for part in job["status"].get("placement") or []))
    return ", ".join(nodes) if len(nodes) <= 3 else f"{nodes[0]} and {len(nodes) - 1} more"


def when(job: dict[str, Any]) -> str:
    return ago(job["metadata"]["submitted_at"])
