"""From a canonical document to the groups of tasks that it asks for.

Guarantees: `compile_job` takes any document that `spec.canonical` returned and never fails on one; equal documents give equal shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bushel.domain.job import Constraints, GroupShape, JobShape, Slices
from bushel.domain.lifecycle import FailureClass
from bushel.domain.resources import ResourceRequest
from bushel.domain.retry import RetryPolicy
from bushel.spec.fields import split_array

SINGLE_GROUP_NAME = "main"
"""The group of a job that names none."""

_ANYWHERE = Constraints()


def compile_job(spec: Mapping[str, Any]) -> JobShape:
    """The shape of a canonical document."""
    groups = compile_groups(spec)
    array, array_limit = split_array(spec["array"]) if "array" in spec else (None, None)
    preemption = spec["preemption"]
    time_limit = float(spec["time_limit"])
    return JobShape(
        groups=groups,
        gang=sum(group.count for group in groups) > 1,
        constraints=_constraints(spec["placement"]) if "placement" in spec else _ANYWHERE,
        array=array,
        array_limit=array_limit,
        priority=spec["priority"],
        time_limit_seconds=time_limit,
        expected_seconds=min(float(spec.get("expected_duration", time_limit)), time_limit),
        grace_seconds=float(preemption["grace"]),
        checkpoints=preemption["checkpoint"],
        image="image" in spec or any("image" in group for group in spec.get("groups", ())),
        retry=retry_policy(spec),
    )


def compile_groups(spec: Mapping[str, Any]) -> tuple[GroupShape, ...]:
    """The groups of a canonical document, in the order of their ranks."""
    if "groups" not in spec:
        count = spec.get("nodes", 1)
        return (GroupShape(SINGLE_GROUP_NAME, count, count, resource_request(spec["resources"])),)
    return tuple(GroupShape(group["name"], group["count"], group["min"], resource_request(group["resources"])) for group in spec["groups"])


def resource_request(resources: Mapping[str, Any]) -> ResourceRequest:
    """What one task needs, from the `resources` of a canonical document."""
    gpu = resources.get("gpu")
    return ResourceRequest(
        cpu_milli=round(resources["cpu"] * 1000),
        memory_bytes=resources["memory"],
        disk_bytes=resources.get("disk", 0),
        gpu_milli=0 if gpu is None else round(gpu["count"] * gpu.get("share", 1) * 1000),
        gpu_models=() if gpu is None else tuple(gpu.get("model", ())),
    )


def retry_policy(spec: Mapping[str, Any]) -> RetryPolicy:
    """When the elements of a canonical document get another attempt."""
    retry = spec["retry"]
    return RetryPolicy(retry["attempts"], frozenset(FailureClass(name) for name in retry["on"]), float(retry["backoff"]))


def _constraints(placement: Mapping[str, Any]) -> Constraints:
    return Constraints(
        sites=tuple(placement.get("sites", ())),
        clusters=tuple(placement.get("clusters", ())),
        labels=tuple(sorted(placement.get("labels", {}).items())),
        require=placement.get("require"),
        prefer=placement.get("prefer"),
        spread=placement.get("spread"),
        slices=Slices(**placement["slices"]) if "slices" in placement else None,
    )
