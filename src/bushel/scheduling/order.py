"""Who is next: what each queue is entitled to, and how its past use stretches its rank.

Guarantees: a job's rank is the largest part that its queue, this job included, would hold of what it is entitled to of any one
resource that the job needs. Jobs within the entitlement go before all others; among these and among those the smaller rank goes
first, stretched by past use; equal ones go by the queue's name. In a queue the higher priority goes first, then the older job.
Demand is what runs and what waits and could ever run, added up by the resources it needs, so entitlements do not depend on what
runs where.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bushel.scheduling.fairness import FairShares
from bushel.scheduling.fairness.arrays import Flags
from bushel.scheduling.fairness.columns import Block
from bushel.scheduling.fairness.history import past_use
from bushel.scheduling.fairness.shares import Shares
from bushel.scheduling.fleet import Integers
from bushel.scheduling.kernels.mode import lean_kernel, twin
from bushel.scheduling.kernels.tables import IMPOSSIBLE, KEY, SINGLE, UNBOUNDED, Array, Classes, Ways
from bushel.scheduling.lines import Lines, priority_of_key
from bushel.scheduling.quota import GPU_OF_ANY_MODEL, MULTIPLIER_ONE, Ledger, QueueTree

_MULTIPLIER_LIMIT = 1 << 20
_EXACT_IN_FLOATS = float(1 << 52)
_VERY_MUCH = 1 << 60


def entitle(fair: FairShares, ledger: Ledger, tree: QueueTree, lines: Lines, classes: Classes, ways: Ways, capacity: Integers) -> Shares:
    """Fill in what each queue of the ledger is entitled to."""
    names = [name for name in ledger.columns if name != GPU_OF_ANY_MODEL or ledger.names_any_model]
    width = len(names)
    amounts = capacity.tolist()
    there = dict(zip(ledger.columns, [*amounts, sum(a for n, a in zip(names, amounts, strict=False) if n.startswith("gpu/"))], strict=True))
    by_name = np.array([names.index(name) for name in sorted(names)], np.int64)
    blocks = [*_waiting(ledger, lines, classes, ways, by_name), *_running(tree, sorted(names))]
    used = ledger.used[:-1, by_name]
    shares = fair.update_columns(tree.queues.values(), {name: there[name] for name in names}, blocks, ledger.queue_ids, used)
    leaves, columns = shares.tree.leaves(ledger.queue_ids), np.array([shares.columns[name] for name in names], np.int64)
    known = np.flatnonzero(leaves >= 0)
    if width:
        ledger.table.entitled[known, :width] = shares.entitled[leaves[known][:, None], columns]
    return shares


def entitlements_decide(tree: QueueTree, lines: Lines, reclaim: bool) -> bool:
    """Whether the plan depends on them. Not where one queue has all that waits and, if somebody may be stopped, one line of it and all
    that runs, none of that being of lower priority or told to stop: nobody is compared with anybody."""
    some = lines.filled()
    waiting = some.queues
    if len(waiting) > 1:
        return True
    if not (reclaim and waiting):
        return False
    if len(some.lines) > 1 or tree.stopping or any(of_queue.keys() - waiting for of_queue in tree.running.values()):
        return True
    highest = priority_of_key(int(lines.pool[KEY, lines.start[some.lines[0]]]))
    return min(tree.priorities, default=highest) < highest


def stretch_by_history(ledger: Ledger, tree: QueueTree, shares: Shares, now_seconds: float, half_life_seconds: float) -> None:
    """Fill in how much past use stretches the rank of each queue."""
    for queue_id, queue in tree.queues.items():
        if queue.history[0]:
            leaf = shares.tree.leaf_of[queue_id]
            slice_amounts = {name: int(shares.slice[leaf, column]) for name, column in shares.columns.items()}
            past = past_use(queue.history, now_seconds, half_life_seconds, slice_amounts)
            ledger.table.multiplier[ledger.number[queue_id]] = min(int(MULTIPLIER_ONE * (1.0 + past)), _MULTIPLIER_LIMIT)


def _waiting(ledger: Ledger, lines: Lines, classes: Classes, ways: Ways, by_name: Integers) -> Iterator[Block]:
    """For each queue and set of resources so many elements, and what they need in each way."""
    some = lines.filled()
    present = np.flatnonzero(some.by_class)
    if not len(present):
        return
    place = np.zeros(int(present[-1]) + 1, np.int64)
    place[present] = np.arange(len(present))
    queue = np.array([ledger.number.get(queue_id, 0) for queue_id in lines.known_queues], np.int64)
    counts = np.zeros((len(ledger.ids), len(present)), np.int64)
    twin(spread)(some.queue, some.klass, some.elements, queue, place, counts)
    counts[~_could_start(ledger, classes, present)] = 0
    ids = ledger.queue_ids
    for kind, members in _kinds(classes, ways, present, len(by_name)).items():
        part = counts[:, members]
        total = part.sum(axis=1)
        rows = np.flatnonzero(total)
        amounts = np.stack([_product(part[rows], _needs(classes, ways, present[members], way)[:, by_name]) for way in range(len(kind))])
        yield Block(ids[rows], total[rows], amounts)


@lean_kernel
def spread(queue: Array, klass: Array, elements: Array, number: Array, place: Array, counts: Array) -> None:
    """Each line to where its queue and its class stand."""
    for line in range(queue.shape[0]):
        counts[number[queue[line]], place[klass[line]]] = elements[line]


def _product(counts: Integers, needs: Integers) -> Integers:
    """Sums over classes; what no number of 64 bits holds counts as very much."""
    about = counts.astype(np.float64) @ needs.astype(np.float64)
    exact = about.astype(np.int64) if about.max(initial=0.0) < _EXACT_IN_FLOATS else counts @ needs
    return np.where(about < _VERY_MUCH, exact, _VERY_MUCH)


def _could_start(ledger: Ledger, classes: Classes, present: Integers) -> Flags:
    """By queue and class, whether one element is within every ceiling above it."""
    table = ledger.table
    needs = classes.needs[present]
    possible = np.broadcast_to(classes.kind[present] != IMPOSSIBLE, (len(ledger.ids), len(present))).copy()
    ceiling = np.where((table.path >= 0)[:, :, None], table.ceiling[table.path], UNBOUNDED).min(axis=1)[: len(ledger.ids)]
    for column in np.flatnonzero(needs.max(axis=0) > ceiling.min(axis=0)):  # few limits are smaller than one element
        possible &= needs[None, :, column] <= ceiling[:, None, column]
    return possible


def _kinds(classes: Classes, ways: Ways, present: Integers, width: int) -> dict[tuple[bytes, ...], Integers]:
    """Classes that need the same resources, whichever way they are met: positions in `present`."""
    needed, together = ways.needs[:, :width] > 0, classes.needs[:, :width] > 0
    found: dict[tuple[bytes, ...], list[int]] = {}
    for place, number in enumerate(present.tolist()):
        single = classes.kind[number] == SINGLE
        rows = needed[classes.first[number] : classes.stop[number]] if single else together[number : number + 1]
        kind = tuple(row.tobytes() for row in rows)
        if kind:
            found.setdefault(kind, []).append(place)
    return {kind: np.array(members) for kind, members in found.items()}


def _needs(classes: Classes, ways: Ways, numbers: Integers, place: int) -> Integers:
    """Of one element of each class, met in its way of this place."""
    single = (classes.kind[numbers] == SINGLE)[:, None]
    way = np.minimum(classes.first[numbers] + place, len(ways.needs) - 1)
    return np.where(single, ways.needs[way], classes.needs[numbers])


def _running(tree: QueueTree, names: list[str]) -> Iterator[Block]:
    column_of = {name: column for column, name in enumerate(names)}
    for kind, of_queue in tree.running.items():
        if of_queue:
            sums = np.array(list(of_queue.values()), np.int64)
            amounts = np.zeros((1, len(sums), len(names)), np.int64)
            for place, name in enumerate(kind, start=1):
                if name in column_of:
                    amounts[0, :, column_of[name]] = sums[:, place]
            yield Block(np.array(list(of_queue), np.int64), sums[:, 0], amounts)
