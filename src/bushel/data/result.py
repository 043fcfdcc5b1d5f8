"""What a task leaves behind for the platform: `BUSHEL_RESULT_FILE` and `BUSHEL_PARTITIONS_FILE`.

Guarantees: each file is replaced whole, so whoever reads it sees all of what one call wrote or none of it.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bushel.domain.failpoints import reach

RESULT_LIMIT_BYTES = 64 * 1024


def add(section: str, key: str | None, value: Any) -> None:
    """Put `value` into the result, under `section` and, there, `key`. Outside of a task nothing is written."""
    target = os.environ.get("BUSHEL_RESULT_FILE")
    if not target:
        return
    path = Path(target)
    try:
        document = json.loads(path.read_text()) or {}
    except (FileNotFoundError, ValueError):
        document = {}
    if key is None:
        document[section] = value
    else:
        document.setdefault(section, {})[key] = value
    text = json.dumps(document, separators=(",", ":"))
    if len(text.encode()) > RESULT_LIMIT_BYTES:
        raise ValueError(f"the result of a task is limited to {RESULT_LIMIT_BYTES} bytes; with this it has {len(text.encode())}")
    reach("data.before_result")
    _replace(path, text)


def partitions(names: Iterable[str | Mapping[str, Any]]) -> int:
    """List partitions for the stages that follow: names, or objects with name, site and digest. How many."""
    listed = [{"name": name} if isinstance(name, str) else dict(name) for name in names]
    target = os.environ.get("BUSHEL_PARTITIONS_FILE")
    if target:
        _replace(Path(target), "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in listed))
    return len(listed)


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}~")
    try:
        partial.write_text(text)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
