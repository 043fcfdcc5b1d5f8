"""Who is next: what each queue is entitled to, and how its past use stretches its rank.

Guarantees: a job's rank is the largest part that its queue, this job included, would hold of what it is entitled to of any one
resource that the job needs. Jobs within the entitlement go before all others; among these and among those the smaller rank goes
first, stretched by past use; equal ones go by the queue's name. In a queue the higher priority goes first, then the older job.
Demand is what runs and what waits and could ever run, added up by the resources it needs, so entitlements do not depend on what
runs where.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from bushel.scheduling.entities import Queue
from bushel.scheduling.fairness import Demand, FairShares
from bushel.scheduling.fairness.history import past_use
from bushel.scheduling.fairness.shares import Shares
from bushel.scheduling.fleet import Integers
from bushel.scheduling.kernels.tables import IMPOSSIBLE, SINGLE, UNBOUNDED, Classes, Ways
from bushel.scheduling.lines import Lines
from bushel.scheduling.quota import GPU_OF_ANY_MODEL, MULTIPLIER_ONE, Ledger, QueueTree

_MULTIPLIER_LIMIT = 1 << 20
_SEVERAL_WAYS_LIMIT = 64


def entitle(fair: FairShares, ledger: Ledger, tree: QueueTree, lines: Lines, classes: Classes, ways: Ways, capacity: Integers) -> Shares:
    """Fill in what each queue of the ledger is entitled to."""
    counted = any(_names_any_model(queue) for queue in tree.queues.values())
    names = [name for name in ledger.columns if name != GPU_OF_ANY_MODEL or counted]
    width = len(names)
    amounts = capacity.tolist()
    there = dict(zip(ledger.columns, [*amounts, sum(a for n, a in zip(names, amounts, strict=False) if n.startswith("gpu/"))], strict=True))
    demands = [*_waiting(ledger, lines, classes, ways, names), *_running(tree, set(names))]
    demands = _dealt(demands, there)
    shares = fair.update(tree.queues.values(), {name: there[name] for name in names}, demands, tree.used)
    table = ledger.table
    columns = np.array([shares.columns[name] for name in names], np.int64)
    for number, queue_id in enumerate(ledger.ids):
        leaf = shares.tree.leaf_of.get(queue_id)
        if leaf is not None and width:
            table.entitled[number, :width] = shares.entitled[leaf, columns]
    return shares


def stretch_by_history(ledger: Ledger, tree: QueueTree, shares: Shares, now_seconds: float, half_life_seconds: float) -> None:
    """Fill in how much past use stretches the rank of each queue."""
    for queue_id, queue in tree.queues.items():
        if queue.history[0]:
            leaf = shares.tree.leaf_of[queue_id]
            slice_amounts = {name: int(shares.slice[leaf, column]) for name, column in shares.columns.items()}
            past = past_use(queue.history, now_seconds, half_life_seconds, slice_amounts)
            ledger.table.multiplier[ledger.number[queue_id]] = min(int(MULTIPLIER_ONE * (1.0 + past)), _MULTIPLIER_LIMIT)


def _names_any_model(queue: Queue) -> bool:
    return any(GPU_OF_ANY_MODEL in (limits or {}) for limits in (queue.quota, queue.guarantee, queue.lending, queue.borrowing))


def _waiting(ledger: Ledger, lines: Lines, classes: Classes, ways: Ways, names: list[str]) -> Iterator[Demand]:
    """One demand for each queue and set of resources: so many elements of mean size."""
    filled = np.flatnonzero(lines.elements[: lines.count])
    if not len(filled):
        return
    present, klass = np.unique(lines.klass[filled].astype(np.int64), return_inverse=True)
    numbers = {queue_id: number for number, queue_id in enumerate(ledger.ids)}
    known, of = np.unique(lines.queue_ids[filled], return_inverse=True)
    queue = np.array([numbers[queue_id] for queue_id in known.tolist()], np.int64)
    counts = np.zeros((len(known), len(present)), np.int64)
    counts[of, klass] = lines.elements[filled]
    counts[~_could_start(ledger, classes, present, queue)] = 0
    for kind, members in _kinds(classes, ways, present, len(names)).items():
        part = counts[:, members]
        total = part.sum(axis=1)
        sums = [part @ _needs(classes, ways, present[members], place)[:, : len(names)] for place in range(len(kind))]
        for row in np.flatnonzero(total).tolist():
            count = int(total[row])
            yield Demand(ledger.ids[queue[row]], tuple(_mean(names, amounts[row].tolist(), count) for amounts in sums), count)


def _dealt(demands: list[Demand], capacity: Mapping[str, int]) -> list[Demand]:
    """Few demands that may be met in several ways are left to `fairness.flavors`; many are dealt over their ways by capacity."""
    if sum(len(demand.ways) > 1 for demand in demands) <= _SEVERAL_WAYS_LIMIT:
        return demands
    dealt: list[Demand] = []
    for demand in demands:
        weights = [min((capacity[name] for name in way), default=0) for way in demand.ways]
        whole, given, passed = max(1, sum(weights)), 0, 0
        for way, weight in zip(demand.ways, weights, strict=True):
            passed += weight
            part = demand.count * passed // whole - given
            given += part
            if part:
                dealt.append(Demand(demand.queue_id, (way,), part))
    return dealt


def _mean(names: list[str], amounts: list[int], count: int) -> Mapping[str, int]:
    """Rounded up: less than one unit an element too much."""
    return {name: -(-amount // count) for name, amount in zip(names, amounts, strict=True) if amount}


def _could_start(ledger: Ledger, classes: Classes, present: Integers, queue: Integers) -> Integers:
    """By queue and class, whether one element is within every ceiling above it."""
    table = ledger.table
    ceiling = np.where((table.path >= 0)[:, :, None], table.ceiling[table.path], UNBOUNDED).min(axis=1)[queue]
    possible = (classes.needs[present][None, :, :] <= ceiling[:, None, :]).all(axis=2)
    return possible & (classes.kind[present] != IMPOSSIBLE)


def _kinds(classes: Classes, ways: Ways, present: Integers, width: int) -> dict[tuple[int, ...], Integers]:
    """Classes that need the same resources, whichever way they are met: positions in `present`."""
    bits = 1 << np.arange(width)
    found: dict[tuple[int, ...], list[int]] = {}
    for place, number in enumerate(present.tolist()):
        if classes.kind[number] == SINGLE:
            needs = ways.needs[classes.first[number] : classes.stop[number], :width]
        else:
            needs = classes.needs[number : number + 1, :width]
        kind = tuple(((needs > 0) @ bits).tolist())
        if kind:
            found.setdefault(kind, []).append(place)
    return {kind: np.array(members) for kind, members in found.items()}


def _needs(classes: Classes, ways: Ways, numbers: Integers, place: int) -> Integers:
    """Of one element of each class, met in its way of this place."""
    single = (classes.kind[numbers] == SINGLE)[:, None]
    way = np.minimum(classes.first[numbers] + place, len(ways.needs) - 1)
    return np.where(single, ways.needs[way], classes.needs[numbers])


def _running(tree: QueueTree, names: set[str]) -> Iterator[Demand]:
    for (queue_id, _), (count, amounts) in tree.running.items():
        yield Demand(queue_id, ({name: -(-amount // count) for name, amount in amounts.items() if name in names},), count)
