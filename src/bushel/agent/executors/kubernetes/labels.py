"""The names by which what is ours is known in a cluster.

Guarantees: what an object's labels and annotations say is enough to take it over: nothing else is remembered.
"""

from __future__ import annotations

import hashlib
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SCHEDULER = "bushel"
FINALIZER = "bushel.dev/attempt"
"""Keeps a pod until its end is recorded, whoever deletes it."""

CLUSTER = "bushel.dev/cluster"
ATTEMPT = "bushel.dev/attempt"
RANK = "bushel.dev/rank"
EPOCH = "bushel.dev/epoch"
FACTS = "bushel.dev/facts"

_NAME_LIMIT = 63


def object_name(attempt: str) -> str:
    """What the objects of an attempt are called; a pod has its rank behind it."""
    return f"bushel-{attempt.replace('.', '-')}"


def namespace(prefix: str, project: str) -> str:
    """The namespace of a project: its path, or as much of it as fits and a digest that tells it from others."""
    plain = re.sub(r"[^a-z0-9]+", "-", f"{prefix}{project}".lower()).strip("-")
    if plain == f"{prefix}{project}".replace("/", "-") and len(plain) <= _NAME_LIMIT and "-" not in project:
        return plain
    digest = hashlib.sha256(project.encode()).hexdigest()[:10]
    return f"{plain[: _NAME_LIMIT - 11].rstrip('-')}-{digest}"


def of_attempt(cluster: str, attempt: str, epoch: int) -> dict[str, str]:
    return {"app.kubernetes.io/managed-by": "bushel", CLUSTER: cluster, ATTEMPT: attempt, EPOCH: str(epoch)}


def is_ours(item: Mapping[str, Any], cluster: str) -> bool:
    """Whether this agent made it."""
    return item["metadata"].get("labels", {}).get(CLUSTER) == cluster
