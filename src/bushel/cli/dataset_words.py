"""What the commands about data sets share: references, counts, differences in words."""

from __future__ import annotations

import re

from bushel.cli.mistakes import Wrong
from bushel.cli.words import plural, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from bushel.cli.session import Session

NAMES_SHOWN = 5


def reference(text: str) -> tuple[str, str]:
    """Name and version of `drive/frames@12`."""
    name, _, version = text.partition("@")
    version = version.removeprefix("v") or "latest"
    if not re.fullmatch("latest|[1-9][0-9]{0,8}|sha256:[0-9a-f]{64}", version):
        raise Wrong(f"{text}: write NAME, NAME@12 or NAME@sha256:…", suggestion=f"bushel dataset versions {name}")
    return name, version


def project_of(session: Session) -> str | None:
    """The project, if one is in use."""
    return session.project


def counted(counts: dict[str, int]) -> str:
    """Without records where none were counted: not every file is made of records."""
    parts = [plural(counts["parts"], "part"), plural(counts["files"], "file")]
    parts += [plural(counts["records"], "record")] if counts["records"] else []
    return " · ".join([*parts, size(counts["bytes"])])


def diff_lines(found: dict[str, Any]) -> Iterator[str]:
    """What differs, the largest things first."""
    yield f"version {found['old']} → {found['new']}" + (": the same" if found["same"] else "")
    for name, count in found["counts"].items():
        if count["old"] != count["new"]:
            change = count["new"] - count["old"]
            shown = [size(each) if name == "bytes" else f"{each:,}" for each in (count["old"], count["new"])]
            sign = "+" if change > 0 else "−"
            yield f"  {name:<11} {shown[0]} → {shown[1]}  ({sign}{size(abs(change)) if name == 'bytes' else f'{abs(change):,}'})"
    for kind, parts in found["parts"].items():
        if parts["count"]:
            more = parts["count"] - NAMES_SHOWN
            listed = ", ".join(parts["names"][:NAMES_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
            yield f"  {kind:<11} {plural(parts['count'], 'part')}: {listed}"
    for title in ("schema", "labels"):
        for name, change in found[title].items():
            yield f"  {title:<11} {name}: {_value(change['old'])} → {_value(change['new'])}"
    for name, change in found["columns"].items():
        yield f"  column      {name}: {_column(change)}"
    for name, keys in found["counters"].items():
        shown = [f"{key} {_value(change['old'])} → {_value(change['new'])}" for key, change in keys.items()]
        yield f"  {name:<11} " + ", ".join(shown[:NAMES_SHOWN])


def _column(change: dict[str, Any]) -> str:
    old, new = change["old"], change["new"]
    if old is None or new is None:
        return "new" if old is None else "gone"
    said = [f"{key} {_value(old[key])} → {_value(new[key])}" for key in ("count", "nulls", "mean", "min", "max") if old[key] != new[key]]
    if change["shift"]:
        said.append(f"mean moved by {change['shift']:+.2g} deviations")
    return ", ".join(said)


def _value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "–"
    return f"{value:,.6g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
