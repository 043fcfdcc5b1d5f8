"""What is wrong with a queue tree, in words for whoever wrote it.

Guarantees: a tree without problems keeps every promise: guarantees are met whenever they are wanted, withheld parts are whole,
limits hold. A tree with problems is still planned for; promises that nothing backs then shrink, evenly, to what is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bushel.scheduling.entities import Queue


@dataclass(frozen=True, slots=True)
class TreeProblem:
    """`field` is of the queue's record, `resource` None when the problem is not about one."""

    queue_id: int
    field: str
    resource: str | None
    code: str
    message: str
    amounts: tuple[int, int] | None = None  # what is too much, and what it is more than


def problems_of(queues: Iterable[Queue], capacity: Mapping[str, int]) -> tuple[TreeProblem, ...]:
    """By name of the queue. A capacity that is not named is not held against anybody."""
    known = {queue.id: queue for queue in queues}
    ordered = sorted(known.values(), key=lambda queue: (queue.name, queue.id))
    children: dict[int | None, list[Queue]] = {}
    for queue in ordered:
        children.setdefault(queue.parent_id if queue.parent_id in known else None, []).append(queue)
    found: list[TreeProblem] = []
    rings = _rings(known)
    found += [
        TreeProblem(queue.id, "parent_id", None, "queue_circle", f"Queue {queue.name} is below itself.")
        for queue in ordered
        if queue.id in rings
    ]
    for queue in ordered:
        found += _of_one(queue)
    if rings:
        return tuple(found)
    promised = _promises(children)
    for queue in ordered:
        found += _of_promises(queue, children.get(queue.id, []), promised)
    for resource in sorted(capacity):
        total = sum(promised[queue.id].get(resource, 0) for queue in children.get(None, ()))
        for queue in children.get(None, ()) if total > capacity[resource] else ():
            if promised[queue.id].get(resource, 0):
                message = (
                    f"The guarantees of all queues come to {total} {resource}, the fleet has {capacity[resource]}; they shrink evenly."
                )
                found.append(TreeProblem(queue.id, "guarantee", resource, "guarantee_above_fleet", message))
    return tuple(found)


def _of_one(queue: Queue) -> list[TreeProblem]:
    found = []
    if queue.weight < 0:
        found.append(TreeProblem(queue.id, "weight", None, "negative_amount", f"The weight of queue {queue.name} is negative."))
    for field in ("quota", "guarantee", "lending", "borrowing"):
        for resource, amount in sorted((getattr(queue, field) or {}).items()):
            if amount < 0:
                message = f"The {field} of {resource} of queue {queue.name} is negative."
                found.append(TreeProblem(queue.id, field, resource, "negative_amount", message))
    for resource in sorted(queue.guarantee):
        if resource in queue.quota and queue.guarantee[resource] > queue.quota[resource]:
            message = f"Queue {queue.name} is guaranteed {queue.guarantee[resource]} {resource} and limited to {queue.quota[resource]}."
            found.append(
                TreeProblem(
                    queue.id, "guarantee", resource, "guarantee_above_limit", message, (queue.guarantee[resource], queue.quota[resource])
                )
            )
    return found


def _of_promises(queue: Queue, children: list[Queue], promised: Mapping[int, Mapping[str, int]]) -> list[TreeProblem]:
    found = []
    for resource in sorted(promised[queue.id].keys() | {name for child in children for name in promised[child.id]}):
        own, below = promised[queue.id].get(resource, 0), sum(promised[child.id].get(resource, 0) for child in children)
        if below > own:
            message = f"The queues below {queue.name} are guaranteed {below} {resource} together, {queue.name} itself {own}."
            found.append(TreeProblem(queue.id, "guarantee", resource, "guarantee_not_backed", message, (below, own)))
            for child in children:
                if promised[child.id].get(resource, 0) > (child.lending or {}).get(resource, 1 << 62):
                    message = (
                        f"Queue {child.name} keeps part of its guarantee of {resource} from others, but {queue.name} does not have "
                        "enough to back it; what it can keep shrinks."
                    )
                    found.append(TreeProblem(child.id, "lending", resource, "lending_not_backed", message))
        limit = queue.quota.get(resource)
        if limit is not None and below > limit:
            message = f"The queues below {queue.name} are guaranteed {below} {resource} together, but {queue.name} is limited to {limit}."
            found.append(TreeProblem(queue.id, "quota", resource, "limit_below_guarantees", message, (below, limit)))
    for resource in sorted(queue.lending or {}):
        if not promised[queue.id].get(resource, 0):
            message = f"Queue {queue.name} limits lending of {resource}, of which it is guaranteed nothing."
            found.append(TreeProblem(queue.id, "lending", resource, "nothing_to_lend", message))
            continue
        lends, has = (queue.lending or {})[resource], promised[queue.id][resource]
        if lends > has:
            message = f"Queue {queue.name} lends up to {lends} {resource}, but is guaranteed {has}."
            found.append(TreeProblem(queue.id, "lending", resource, "lending_above_guarantee", message, (lends, has)))
    return found


def _promises(children: Mapping[int | None, list[Queue]]) -> dict[int, dict[str, int]]:
    """What each queue is guaranteed: as written, or where nothing is written what is promised below it. Parts count for totals."""
    promised: dict[int, dict[str, int]] = {}

    def visit(queue: Queue) -> None:
        sums: dict[str, int] = {}
        for child in children.get(queue.id, ()):
            visit(child)
            for resource, amount in promised[child.id].items():
                sums[resource] = sums.get(resource, 0) + amount
        promised[queue.id] = {**sums, **{resource: max(0, amount) for resource, amount in queue.guarantee.items()}}

    for queue in children.get(None, ()):
        visit(queue)
    return promised


def _rings(known: Mapping[int, Queue]) -> set[int]:
    """Queues that are below themselves."""
    found: set[int] = set()
    for queue in known.values():
        seen: set[int] = set()
        above: Queue | None = queue
        while above is not None and above.id not in seen:
            seen.add(above.id)
            above = known.get(above.parent_id) if above.parent_id is not None else None
        if above is not None and above.id == queue.id:
            found.add(queue.id)
    return found
