"""What may not be in a tree of queues, told to whoever would bring it about.

Guarantees: a change is refused if and only if the tree has something wrong after it that it did not have before; so a tree that
somehow is wrong can be put right step by step. Each problem names the field of the change, says what is wrong with which amounts, and
what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bushel.control.explanation_texts import amount
from bushel.control.snapshot import queue_of
from bushel.domain.errors import FieldProblem, InvalidDocument
from bushel.domain.resources import GPU_PREFIX
from bushel.scheduling.entities import Queue
from bushel.scheduling.fairness.validation import TreeProblem, problems_of
from bushel.store import scheduling as store
from bushel.store.database import Transaction


@contextmanager
def insist_on_rules(tx: Transaction, name: str) -> Iterator[None]:
    """Around a change of the queue `name`. Nobody else may change queues meanwhile.

    Raises:
        InvalidDocument: what the change brought about breaks a rule.
    """
    before = {(found.queue_id, found.field, found.resource, found.code) for found in problems_of(map(queue_of, store.queues(tx)), {})}
    yield
    queues = {queue.id: queue for queue in map(queue_of, store.queues(tx))}
    new = [found for found in problems_of(queues.values(), {}) if (found.queue_id, found.field, found.resource, found.code) not in before]
    if new:
        raise InvalidDocument([_told(found, queues, name) for found in new])


def _told(found: TreeProblem, queues: dict[int, Queue], name: str) -> FieldProblem:
    queue = queues[found.queue_id]
    resource = found.resource or ""
    place = f"gpu/{resource.removeprefix(GPU_PREFIX)}" if resource.startswith(GPU_PREFIX) else resource
    field = {"quota": "resource_quota", "parent_id": "parent"}.get(found.field, found.field)
    if queue.name != name:  # it is the change that has to be another one
        field = "guarantee"
    much, less = (amount(resource, value) for value in found.amounts) if found.amounts else ("", "")
    message, suggestion = found.message, None
    match found.code:
        case "guarantee_above_limit":
            message = f"{queue.name} would be guaranteed {much} and limited to {less}"
            suggestion = f"guarantee at most {less}, or raise the quota of {queue.name}"
        case "guarantee_not_backed":
            message = f"the queues below {queue.name} would be guaranteed {much} together, {queue.name} itself {less}"
            suggestion = f"guarantee {queue.name} {much} first, or less below it"
        case "limit_below_guarantees":
            message = f"the queues below {queue.name} would be guaranteed {much} together, but {queue.name} is limited to {less}"
            suggestion = f"raise the quota of {queue.name} to {much}, or guarantee less below it"
        case "nothing_to_lend":
            message = f"{queue.name} is guaranteed no {resource.removeprefix(GPU_PREFIX)}, so there is nothing of it to lend or to keep"
            suggestion = f"give {queue.name} a guarantee of {resource.removeprefix(GPU_PREFIX)} too, or leave it out"
        case "lending_above_guarantee":
            message = f"{queue.name} would lend up to {much}, but is guaranteed {less}"
            suggestion = f"lend at most {less}, or leave it out to lend all"
        case _:
            pass
    return FieldProblem(f"/{field}" + (f"/{place}" if place else ""), message, found.code, suggestion)
