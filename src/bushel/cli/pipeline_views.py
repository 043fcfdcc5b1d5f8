"""Runs and stages as people read them: bars, rates, what is slow, a grid that stays a screen."""

from __future__ import annotations

from bushel.cli.live import bar
from bushel.cli.output import Column
from bushel.cli.words import ago, duration, plain, plural

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from bushel.cli.session import Session

SHOWN = 70
"""Columns of one side of a change."""

CLUSTERS_SHOWN = 3

LIVE = ("starting", "running", "stopping")
_COLOURS = {"succeeded": "green", "failed": "red", "cancelled": "yellow", "running": "bold", "stopping": "yellow"}

PIPELINE_COLUMNS = (
    Column("NAME", lambda row: row["name"]),
    Column("PROJECT", lambda row: row["project"], least=10, weight=1),
    Column("VERSION", lambda row: str(row["version"]), right=True),
    Column("RUNS", lambda row: f"{row['run_count']:,}", right=True),
    Column("STATE", lambda row: "paused" if row["paused"] else "active"),
    Column("APPLIED", lambda row: ago(row["applied_at"]), weight=2),
    Column("BY", lambda row: row["applied_by"] or "–", weight=1),
)

RUN_COLUMNS = (
    Column("RUN", lambda run: str(run["number"]), right=True),
    Column("VERSION", lambda run: str(run["version"]), right=True),
    Column("STATE", lambda run: run_state(run), style=lambda run: (_COLOURS[run["state"]],)),
    Column("KIND", lambda run: f"rerun of {run['base']}" if run.get("base") else "back-fill" if run["backfill"] else "fresh", weight=1),
    Column("BY", lambda run: run["submitter"], weight=1),
    Column("BEGAN", lambda run: ago(run["submitted_at"])),
    Column("WHY", lambda run: plain(run["message"] or ""), least=10, weight=2),
)

PARTITION_COLUMNS = (
    Column("PARTITION", lambda row: plain(row["partition"]), least=12),
    Column("STATE", lambda row: row["state"]),
    Column("ATTEMPT", lambda row: _maker(row)["attempt"] or "–"),
    Column("CLUSTER", lambda row: _maker(row)["cluster"] or "–", weight=2),
    Column("MADE IN", lambda row: f"run {row['made_by']['run']} of {row['made_by']['pipeline']}" if row["made_by"] else "", weight=1),
    Column("WHY", lambda row: plain(row["message"] or row["reason"] or ""), least=12),
)


def _maker(row: dict[str, Any]) -> dict[str, Any]:
    """Who did the work of a partition, in whatever run."""
    return row["made_by"] or row


def run_state(run: dict[str, Any]) -> str:
    return "paused" if run["paused"] and run["state"] == "running" else run["state"]


def run_lines(run: dict[str, Any], session: Session) -> Iterator[str]:
    """The run in one screen, whatever it holds."""
    yield _title(run, session)
    if run["message"]:
        yield f"  why         {plain(run['message'])}"
    yield from _canary(run, session)
    width = max((len(stage["name"]) for stage in run["stages"]), default=0)
    for stage in run["stages"]:
        yield f"  {stage['name']:<{width}}  {_stage(stage, session)}"
    yield from _remarks(run, session)


def _canary(run: dict[str, Any], session: Session) -> Iterator[str]:
    canary = run.get("canary")
    if canary is None:
        return
    if canary["state"] != "failed":
        yield f"  canary      {plain(canary['sentence'])}"
    if canary["partitions"]:
        more = canary["count"] - len(canary["partitions"])
        yield f"  sample      {plain(', '.join(canary['partitions']))}" + (f" and {more:,} more" if more > 0 else "")
    if canary["state"] == "failed":
        for gate in canary["gates"]:
            word = "held" if gate["holds"] else session.paint("broken", "red")
            yield f"  {'gate':<11} {plain(gate['gate'])}: {word}{_measured(gate)}"


def _measured(gate: dict[str, Any]) -> str:
    values = [
        plain(value) if isinstance(value, str) else f"{value:,.6g}" if isinstance(value, float) else f"{value:,}"
        for value in (gate["measured"], gate["last"])
        if value is not None
    ]
    told = [values[0]] if values else []
    told += [f"{values[1]} in version {gate['version']}"] if len(values) > 1 else []
    told += [gate["note"]] if gate["note"] else []
    return f" ({'; '.join(told)})" if told else ""


def _title(run: dict[str, Any], session: Session) -> str:
    parts = [plural(max((stage["partitions"] or 0 for stage in run["stages"]), default=0), "partition")]
    if run["state"] in ("running", "stopping"):
        parts.append(f"{_share(run) * 100:.0f} %")
        if run.get("seconds_left"):
            parts.append(f"about {duration(run['seconds_left'])} left")
        parts.append(f"began {ago(run['submitted_at'])}")
    else:
        parts.append(f"began {ago(run['submitted_at'])}, ended {ago(run['ended_at'])}")
    state = session.paint(run_state(run), _COLOURS[run["state"]])
    kind = f", rerun of {run['base']}" if run.get("base") else ", back-fill" if run["backfill"] else ""
    return f"{session.paint(run['pipeline'], 'bold')} v{run['version']} run {run['number']}{kind} {state} · {' · '.join(parts)}"


def _share(run: dict[str, Any]) -> float:
    total = sum(stage["partitions"] or 1 for stage in run["stages"])
    return sum(_done(stage) for stage in run["stages"]) / total if total else 1.0


def _done(stage: dict[str, Any]) -> int:
    return sum(stage["counts"][place] for place in ("succeeded", "failed", "cancelled"))


def _stage(stage: dict[str, Any], session: Session) -> str:
    counts, count = stage["counts"], stage["partitions"]
    if count is None:
        return f"{bar(0, 1)}  {'cancelled' if stage['state'] == 'cancelled' else 'its partitions are not known yet'}"
    live = sum(counts[place] for place in LIVE)
    told = [f"{counts['succeeded']:,} done"] if counts["succeeded"] or not count else []
    told += [f"{live:,} running"] if live else []
    told += [f"{counts['pending']:,} queued"] if counts["pending"] else []
    told += [f"{counts['delayed']:,} retrying"] if counts["delayed"] else []
    told += [session.paint(f"{counts['failed']:,} failed", "red")] if counts["failed"] else []
    told += [session.paint(f"{counts['cancelled']:,} not done", "yellow")] if counts["cancelled"] else []
    told += [f"{counts['gated']:,} waiting"] if counts["gated"] else []
    reused = stage["cached"] + stage["carried"]
    told += [f"{reused:,} of them taken over"] if reused else []
    told += [f"{duration(stage['median_seconds'])} each"] if stage["median_seconds"] and not live else []
    told += [_spent(stage["spent"])] if stage["spent"] and not live else []
    rate = f"{stage['rate_per_second']:,.1f}/s" if stage["rate_per_second"] and stage["state"] == "running" else ""
    left = f"about {duration(stage['seconds_left'])} left" if rate and stage["seconds_left"] else ""
    return "   ".join(part for part in (bar(_done(stage), count or 1), "  ".join(told), rate, left) if part)


def _spent(spent: Sequence[dict[str, Any]]) -> str:
    """`9.1 s cpu  on vm, north-1`: where the attempts ran, and what they used in all."""
    clusters = [one["cluster"] for one in sorted(spent, key=lambda one: -one["partitions"])]
    more = len(clusters) - CLUSTERS_SHOWN
    shown = ", ".join(clusters[:CLUSTERS_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
    return f"{duration(sum(one['cpu_seconds'] for one in spent))} cpu  on {shown}"


def _remarks(run: dict[str, Any], session: Session) -> Iterator[str]:
    bad = sum(stage["records_bad"] for stage in run["stages"])
    if bad:
        total = sum(stage["records_total"] for stage in run["stages"])
        yield f"  set aside   {bad:,} of {plural(total, 'record')} (bushel pipeline records {run['pipeline']})"
    for stage in run["stages"]:
        if stage["stalled_seconds"]:
            quiet = duration(stage["stalled_seconds"])
            yield session.paint(f"  stalled     {stage['name']}: nothing has finished for {quiet}", "yellow")
        for slow in stage["stragglers"][:2]:
            where = f"{slow['times_median']:,.1f} × the median, on {slow['cluster']} ({slow['attempt']})"
            yield f"  slow        {stage['name']} {plain(slow['partition'])}: {where}"
        for name, made in stage["outputs"].items():
            if made.get("version"):
                yield f"  made        {made['dataset']}@{made['version']} ({stage['name']}, {name})"
    failed = [stage for stage in run["stages"] if stage["state"] == "failed" and stage["message"]]
    for stage in failed[:3]:
        if stage["message"] != run["message"]:
            yield f"  failed      {plain(stage['message'])}"


def _unknown(plan: dict[str, Any]) -> str:
    """`decode and shard have`"""
    names = [stage["name"] for stage in plan["stages"] if stage["partition_seconds"] is None]
    if not names:
        return "how many partitions a stage gets is known when it is listed, and it has"
    return f"{', '.join(names[:-1])}{' and ' if names[1:] else ''}{names[-1]} {'have' if names[1:] else 'has'}"


def after_failure(run: dict[str, Any]) -> list[str]:
    """Commands that say more of a failed stage. What a gate alone has stopped says itself what can be done."""
    stage = next((stage["name"] for stage in run["stages"] if stage["state"] == "failed"), None)
    if run["state"] != "failed" or stage is None:
        return []
    look = f"bushel pipeline partitions {run['pipeline']} {stage} --state failed --run {run['number']}"
    return [look] if run["reason"] == "canary_failed" else [look, f"bushel pipeline rerun {run['pipeline']} --failed"]


GLYPHS = (("failed", "×", "red"), ("live", "▶", "bold"), ("pending", "○", ""), ("cancelled", "-", "yellow"), ("succeeded", "█", "green"))
_ORDER = ("succeeded", "failed", "cancelled", "live", "pending", "gated")
LEGEND = "█ done  ▓▒░ in part  ▶ running  ○ queued  · waiting  × with failures  - not done"


def grid_lines(grid: dict[str, Any], session: Session) -> Iterator[str]:
    """A line for each stage; a cell is one partition, or many of them."""
    rows: Sequence[dict[str, Any]] = grid["rows"]
    width = max((len(row["stage"]) for row in rows), default=0)
    for row in rows:
        cells = "".join(_cell(dict(zip(_ORDER, cell, strict=True)), session) for cell in row["cells"])
        each = -(-row["partitions"] // len(row["cells"])) if row["cells"] else 0
        scale = f"  {row['partitions']:,}" + (f", up to {each:,} a cell" if each > 1 else "")
        taken = ", ".join(f"{one['partitions']:,} from run {one['run']} of {one['pipeline']}" for one in row["taken_over"][:2])
        yield f"{row['stage']:<{width}}  {cells}{scale}" + (f"; {taken}" if taken else "")
    yield session.paint(LEGEND, "dim")


def _cell(counts: dict[str, int], session: Session) -> str:
    total, done = sum(counts.values()) or 1, counts["succeeded"]
    if counts["failed"]:
        return session.paint("×", "red")
    if done == total:
        return session.paint("█", "green")
    if counts["cancelled"] and counts["cancelled"] + done == total:
        return session.paint("-", "yellow")
    if done:
        return session.paint("▓▒░"[2 - min(2, done * 3 // total)], "green")
    if counts["live"]:
        return session.paint("▶", "bold")
    return "○" if counts["pending"] else "·"


def change_lines(changes: Sequence[dict[str, Any]]) -> Iterator[str]:
    import json

    for change in changes:
        where = ".".join(part.replace("~1", "/").replace("~0", "~") for part in change["pointer"].split("/")[1:]) or "the document"
        before, after = _told(*(json.dumps(change[side], ensure_ascii=False) for side in ("before", "after")))
        if change["before"] is None:
            yield f"  + {where}: {after}"
        elif change["after"] is None:
            yield f"  - {where}: {before}"
        else:
            yield f"  ~ {where}: {before} → {after}"


def _told(before: str, after: str) -> tuple[str, str]:
    """Both sides, short: of long ones what stands around the first difference."""
    import re

    before, after = (re.sub(r"sha256:([0-9a-f]{8})[0-9a-f]{56}", r"sha256:\1…", text) for text in (before, after))
    if max(len(before), len(after)) <= SHOWN:
        return plain(before), plain(after)
    same = next((at for at, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), min(len(before), len(after)))
    first = max(0, same - SHOWN // 3)
    return tuple(
        plain(("…" if first else "") + text[first : first + SHOWN] + ("…" if len(text) > first + SHOWN else "")) for text in (before, after)
    )  # type: ignore[return-value]


def _cpu_hours(hours: float) -> str:
    return "less than 0.1 CPU-hours" if 0 < hours < 0.05 else f"{hours:,.1f} CPU-hours"


def plan_lines(plan: dict[str, Any], session: Session) -> Iterator[str]:
    yield session.paint(plan["sentence"], "bold")
    yield from change_lines(plan["changes"])
    width = max(len(stage["name"]) for stage in plan["stages"])
    for stage in plan["stages"]:
        count = "as listed" if stage["partitions"] is None else plural(stage["partitions"], "partition")
        told = [count]
        told += [f"after {', '.join(stage['after'])}"] if stage["after"] else []
        told += [f"{duration(stage['partition_seconds'])} each"] if stage["partition_seconds"] is not None else []
        told += [_cpu_hours(stage["cpu_hours"])] if stage["cpu_hours"] is not None else []
        told += [session.paint(f"{' and '.join(stage['changed'])} changed", "yellow")] if stage["changed"] else []
        yield f"  {stage['name']:<{width}}  {' · '.join(told)}"
    if plan["canary"] is not None:
        canary = plan["canary"]
        yield f"  canary: {plain(canary['sentence'])}"
        if canary["partitions"]:
            more = canary["count"] - len(canary["partitions"])
            yield f"    sample  {plain(', '.join(canary['partitions']))}" + (f" and {more:,} more" if more > 0 else "")
        for gate in canary["gates"]:
            yield f"    gate    {plain(gate)}"
        for name, number in canary["compared_with"].items():
            yield f"    beside  {plain(name)}" + (f" version {number}" if number is not None else ", which has no version yet")
        if canary["held"]:
            yield f"    waits   {', '.join(canary['held'])}, and the rest of {', '.join(canary['sampled'])}"
    if plan["finish_seconds"] is not None:
        yield f"  a run takes about {duration(plan['finish_seconds'])} and {_cpu_hours(plan['cpu_hours'])}, if nothing else runs"
    else:
        yield f"  how long a run takes is not known: {_unknown(plan)} not been run yet, and no `expected_duration` is given"
    yield f"  {plain(plan['cost']['sentence'])}"
