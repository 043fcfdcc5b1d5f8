"""What an agent says of its nodes, cut to what can be.

Guarantees: whatever an agent claims, the fleet of one cluster stays of a size that the scheduler can hold and reckon with, so that it
does no harm to other clusters: so many nodes, accelerator models, topology levels and label keys, and amounts whose sums are far from
the end of a 64-bit number. What is past a limit is left out; the node stays with the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bushel.domain.foreign import clean_text, clean_value
from bushel.domain.resources import CPU, DISK, GPU_PREFIX, MEMORY

NODES_LIMIT = 10_000
MODELS_LIMIT = 16
LEVELS_LIMIT = 16
LABEL_KEYS_LIMIT = 256
"""Each of one cluster."""

LONGEST_NAME = 253
_MOST_PARTS = 64
_DETAIL_DEPTH = 8
_DETAIL_BYTES = 16 * 1024

_CPU_LIMIT_MILLI = 10**8
_GPU_LIMIT_MILLI = 256 * 1000
_BYTES_LIMIT = 2**50
_CLUSTER_BYTES_LIMIT = 2**55
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def clean_nodes(reported: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The nodes by name, with `state`, `capacity`, `labels`, `topology` and `detail`; the last of two that share a name."""
    limits = _Limits()
    nodes: dict[str, dict[str, Any]] = {}
    for raw in reported[:NODES_LIMIT]:
        name = clean_text(str(raw.get("name", "")), LONGEST_NAME)
        if name and "/" not in name and raw.get("state") in ("ready", "lost"):
            nodes[name] = {
                "name": name,
                "state": raw["state"],
                "capacity": limits.capacity(_some(raw.get("capacity"))),
                "labels": limits.labels(_some(raw.get("labels"))),
                "topology": limits.topology(raw.get("topology") or ()),
                "detail": _detail(raw.get("detail")),
            }
    return nodes


class _Limits:
    """What one cluster has used up so far."""

    def __init__(self) -> None:
        self._models: set[str] = set()
        self._levels: set[str] = set()
        self._label_keys: set[str] = set()
        self._bytes_left = {MEMORY: _CLUSTER_BYTES_LIMIT, DISK: _CLUSTER_BYTES_LIMIT}

    def capacity(self, claimed: Mapping[Any, Any]) -> dict[str, int]:
        kept: dict[str, int] = {}
        for name, amount in claimed.items():
            if type(amount) is not int or amount < 0:
                continue
            if name == CPU and amount <= _CPU_LIMIT_MILLI:
                kept[name] = amount
            elif name in self._bytes_left and amount <= min(_BYTES_LIMIT, self._bytes_left[name]):
                self._bytes_left[name] -= amount
                kept[name] = amount
            elif str(name).startswith(GPU_PREFIX) and amount <= _GPU_LIMIT_MILLI:
                model = str(name).removeprefix(GPU_PREFIX)
                if _MODEL.fullmatch(model) and _admitted(model, self._models, MODELS_LIMIT):
                    kept[name] = amount
        return kept

    def labels(self, claimed: Mapping[Any, Any]) -> dict[str, str]:
        named = {clean_text(str(key), LONGEST_NAME): clean_text(str(value), LONGEST_NAME) for key, value in claimed.items()}
        return {key: value for key, value in named.items() if _admitted(key, self._label_keys, LABEL_KEYS_LIMIT)}

    def topology(self, claimed: Sequence[Any]) -> list[list[str]]:
        named = [[clean_text(str(level), LONGEST_NAME), clean_text(str(place), LONGEST_NAME)] for level, place in claimed[:_MOST_PARTS]]
        return [[level, place] for level, place in named if _admitted(level, self._levels, LEVELS_LIMIT)]


def _admitted(name: str, known: set[str], limit: int) -> bool:
    """Whether it is one of the first `limit` names."""
    if name not in known and len(known) < limit:
        known.add(name)
    return name in known


def _some(mapping: Any) -> dict[Any, Any]:
    return dict(list(mapping.items())[:_MOST_PARTS]) if isinstance(mapping, Mapping) else {}


def _detail(claimed: Any) -> dict[str, Any]:
    """Facts for people."""
    clean = clean_value(_some(claimed), _DETAIL_DEPTH)
    return clean if len(str(clean)) <= _DETAIL_BYTES else {}
