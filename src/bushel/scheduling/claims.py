"""Who may have others stopped for it, and in which order: waiting elements at the heads of lines.

Guarantees: by the ranks as they are, whoever is offered has a right to claim (`Ranks.may_claim`); lines go in the order in which their
queues are served. Single tasks of equal right are offered together, as many as their queue is entitled to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bushel.scheduling.fairness.standings import ONE
from bushel.scheduling.fairness.standings import Claim as Right
from bushel.scheduling.feasibility import Choices, Variant, charge_of_counts, choices_of
from bushel.scheduling.fleet import Integers, Mask
from bushel.scheduling.kernels import tables
from bushel.scheduling.kernels.mode import twin
from bushel.scheduling.kernels.serve import key_of_queue
from bushel.scheduling.least_evictions import Claim
from bushel.scheduling.lines import job_of_key, priority_of_key
from bushel.scheduling.live import LiveColumns
from bushel.scheduling.ranks import Ranks

if TYPE_CHECKING:
    from bushel.scheduling.pass_over import Pass

_NOBODY_LOWER = 1 << 40

Element = tuple[int, int]
"""A job and an index."""


@dataclass(frozen=True, slots=True)
class Claimant:
    """Elements of equal right at the head of a line: one gang, or some single tasks."""

    queue_id: int
    line: int
    elements: tuple[Element, ...]
    needs: Integers  # of one of them, by columns of the ledger
    variants: tuple[Variant, ...]
    claim: Claim
    right: Right
    priority: int

    @property
    def core(self) -> bool:
        """Whether its queue stays within what it is entitled to."""
        return self.right.rank_above == ONE or self.right.own_below is not None


def lines_with_a_claim(made: Pass, left: Integers, live: LiveColumns) -> list[int]:
    """Of these lines those whose head may have one, by a quick look, in the order in which they are served."""
    table, queues, classes = made.lines, made.ledger.table, made.classes
    number = np.array([made.ledger.number[queue_id] for queue_id in made.snapshot.lines.queue_ids[left].tolist()], np.int64)
    klass = table.klass[left]
    core, needs = within(made, left, number), classes.needs[klass, :-1]
    entitled, own = queues.entitled[number, :-1], queues.own[number, :-1]
    alone = ((needs == 0) | (needs <= entitled)).all(axis=1)
    idle = (own == 0).all(axis=1) & ((needs == 0) | (entitled > 0)).all(axis=1)
    elastic = np.array([any(group.min_count < group.count for group in shape.groups) for shape in made.snapshot.lines.shapes.shapes])[klass]
    somebody = bool((queues.own[:, :-1] > queues.entitled[:, :-1]).any() or (live.alive & live.stopping).any())
    keys = table.pool[tables.KEY, table.start[left] + table.position[left]]
    lowest = np.full(len(queues.own), _NOBODY_LOWER)
    np.minimum.at(lowest, queue_numbers(made, live.queue_id[live.alive]), live.priority[live.alive])
    priority = np.array([priority_of_key(key) for key in keys.tolist()], np.int64)
    chosen = ((core | idle | elastic) & (somebody | (table.cause[left] == 0))) | (alone & (lowest[number] < priority))
    found: list[tuple[int, int, int, int]] = []
    for at in np.flatnonzero(chosen).tolist():
        rank = int(twin(key_of_queue)(queues, classes, int(number[at]), int(klass[at])))
        found.append((rank, int(number[at]), int(keys[at]), int(left[at])))
    return [line for *_, line in sorted(found)]


def within(made: Pass, lines: Integers, queues: Integers, own: Integers | None = None) -> Mask:
    """Whether one more element of each line keeps its queue within what it is entitled to."""
    table = made.ledger.table
    needs = made.classes.needs[made.lines.klass[lines], :-1]
    held = (table.own if own is None else own)[queues, :-1]
    return ((needs == 0) | (held + needs <= table.entitled[queues, :-1])).all(axis=1)


def queue_numbers(made: Pass, queue_ids: Integers) -> Integers:
    """Of queues in the ledger."""
    ids = np.array(made.ledger.ids, np.int64)
    order = np.argsort(ids)
    return order[np.searchsorted(ids[order], queue_ids)]


def head_key(made: Pass, line: int) -> int:
    table = made.lines
    return int(table.pool[tables.KEY, table.start[line] + table.position[line]])


def claimants(made: Pass, ranks: Ranks, counted: Integers, line: int) -> Iterator[Claimant]:
    """What is left of a line, from its head, as long as it has a right; the next is asked for when the one before was served.

    `counted` is 0 for columns of the ledger that shares do not count.
    """
    table = made.lines
    shape = made.snapshot.lines.shapes.shapes[table.klass[line]]
    queue_id = int(made.snapshot.lines.queue_ids[line])
    if queue_id not in made.shares.rows:
        return
    queue = made.ledger.number[queue_id]
    choices = choices_of(made.fleet, shape)
    apart = shape.task_count == 1
    ways = [tuple(choice.variants[min(way, len(choice.variants) - 1)] for choice in choices) for way in _ways(choices)]
    least = [choice.group.min_count for choice in choices]
    position, taken = int(table.position[line]), int(table.taken[line])
    while position < table.length[line]:
        key = int(table.pool[tables.KEY, int(table.start[line]) + position])
        job_id, priority = job_of_key(key), priority_of_key(key)
        index = made.pending.index(job_id, taken)
        for variants in ways:
            needs = made.ledger.needs(charge_of_counts(variants, least))
            right = ranks.may_claim(queue, needs * counted, priority)
            if right.rank_above is not None or right.own_below is not None:
                break
        else:
            return
        excluded = made.pending.excluded(job_id, index)
        elements = [(job_id, index)]
        if apart and not excluded:
            elements = _equals(made, line, position, taken, max(1, ranks.core_room(queue, needs * counted, priority)))
        only = tuple(Choices(choice.group, ((way,),)) for choice, way in zip(choices, variants, strict=True))
        claim = Claim(only, shape.constraints, apart, len(elements), excluded)
        before = int(table.position[line]), int(table.taken[line])
        yield Claimant(queue_id, line, tuple(elements), needs, variants, claim, right, priority)
        if before != (int(table.position[line]), int(table.taken[line])):
            position, taken = int(table.position[line]), int(table.taken[line])
            continue
        for _ in elements:
            taken += 1
            if taken >= table.pool[tables.STARTABLE, int(table.start[line]) + position]:
                position, taken = position + 1, 0


def _equals(made: Pass, line: int, position: int, taken: int, most: int) -> list[tuple[int, int]]:
    """Elements from here on that are of the same priority and avoid no nodes."""
    table = made.lines
    found: list[tuple[int, int]] = []
    priority = None
    while position < table.length[line] and len(found) < most:
        at = int(table.start[line]) + position
        key = int(table.pool[tables.KEY, at])
        avoids = int(table.pool[tables.FLAGS, at]) & tables.AVOIDS_NODES
        if priority not in (None, priority_of_key(key)) or (avoids and found):
            break
        priority = priority_of_key(key)
        job_id = job_of_key(key)
        while taken < table.pool[tables.STARTABLE, at] and len(found) < most:
            found.append((job_id, made.pending.index(job_id, taken)))
            taken += 1
            if avoids:
                return found
        position, taken = position + 1, 0
    return found


def _ways(choices: tuple[Choices, ...]) -> range:
    return range(max((len(choice.variants) for choice in choices), default=0)) if all(choice.variants for choice in choices) else range(0)
