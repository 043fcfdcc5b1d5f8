"""Pipelines and their versions.

Guarantees: versions of a pipeline are numbered without a gap, under the lock of the pipeline's row; a version never changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg.types.json import Json

from bushel.store.database import Transaction

_COLUMNS = """
    p.id, p.project_id, p.name, p.version, p.run_count, p.paused, p.created_at, s.path as project, v.applied_at, by.name as applied_by
"""

_FROM = """
    from pipelines p join scopes s on s.id = p.project_id
    left join pipeline_versions v on v.pipeline_id = p.id and v.version = p.version left join principals by on by.id = v.applied_by
"""

_FIND = f"select {_COLUMNS} {_FROM} where p.project_id = any(%s) and p.name = %s order by p.id desc"

_PAGE = f"""
    select {_COLUMNS} {_FROM}
    where p.project_id = any(%(projects)s) and (s.path, p.name) > (%(path)s, %(name)s) order by s.path, p.name limit %(limit)s
"""

_VERSIONS = """
    select v.version, v.applied_at, by.name as applied_by from pipeline_versions v join principals by on by.id = v.applied_by
    where v.pipeline_id = %s and v.version < %s order by v.version desc limit %s
"""


def digest(document: Mapping[str, Any]) -> bytes:
    """Of a canonical document: equal documents have equal ones."""
    return hashlib.sha256(json.dumps(document, separators=(",", ":")).encode()).digest()


def find(tx: Transaction, project_ids: Sequence[int], name: str) -> list[dict[str, Any]]:
    """The pipelines of that name in these projects."""
    return tx.all(_FIND, (list(project_ids), name)) if project_ids else []


def page(tx: Transaction, project_ids: Sequence[int], after: tuple[str, str], limit: int) -> list[dict[str, Any]]:
    """In the order of project and name."""
    return tx.all(_PAGE, {"projects": list(project_ids), "path": after[0], "name": after[1], "limit": limit})


def lock(tx: Transaction, project_id: int, name: str) -> dict[str, Any] | None:
    return tx.first(
        "select id, version, run_count, paused from pipelines where project_id = %s and name = %s for update", (project_id, name)
    )


def insert(tx: Transaction, project_id: int, name: str) -> None:
    """Make it, unless somebody else did."""
    tx.execute("insert into pipelines (project_id, name) values (%s, %s) on conflict do nothing", (project_id, name))


def add_version(tx: Transaction, pipeline_id: int, version: int, document: Mapping[str, Any], principal_id: int) -> None:
    """Of a locked pipeline."""
    tx.execute(
        "insert into pipeline_versions (pipeline_id, version, document, digest, applied_by) values (%s, %s, %s, %s, %s)",
        (pipeline_id, version, Json(dict(document)), digest(document), principal_id),
    )
    tx.execute("update pipelines set version = %s where id = %s", (version, pipeline_id))


def version_digest(tx: Transaction, pipeline_id: int, version: int) -> bytes | None:
    row = tx.first("select digest from pipeline_versions where pipeline_id = %s and version = %s", (pipeline_id, version))
    return row["digest"] if row else None


def document(tx: Transaction, pipeline_id: int, version: int) -> dict[str, Any] | None:
    """As it was applied, stages in their order."""
    row = tx.first("select document from pipeline_versions where pipeline_id = %s and version = %s", (pipeline_id, version))
    return row["document"] if row else None


def versions(tx: Transaction, pipeline_id: int, before: int, limit: int) -> list[dict[str, Any]]:
    """Newest first."""
    return tx.all(_VERSIONS, (pipeline_id, before, limit))


def next_run(tx: Transaction, pipeline_id: int) -> int:
    """The number of another run."""
    return tx.one("update pipelines set run_count = run_count + 1 where id = %s returning run_count", (pipeline_id,))["run_count"]


def set_paused(tx: Transaction, pipeline_id: int, paused: bool) -> None:
    tx.execute("update pipelines set paused = %s where id = %s", (paused, pipeline_id))
    tx.execute("update runs set due = true where pipeline_id = %s and ended_at is null", (pipeline_id,))
