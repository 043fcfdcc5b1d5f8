"""Which hardware is counted as wanted by jobs that would run on several kinds of it, before shares are computed.

Each element is counted once, on one of its ways; counted on several it would inflate its queue's claim. In turn:

1. Ways that the queue, or one above it, is guaranteed and does not claim otherwise: a guarantee is never left unclaimed while a
   job that could use it asks elsewhere.
2. What is left of each kind of hardware after all that must have it, by preference, moving earlier choices to their other ways
   where that makes room (augmenting paths, Ford and Fulkerson 1956).
3. The rest, which no choice finds room for, on all its ways in proportion to what the fleet has of each: it keeps its queue's
   claim to a part of every kind that it could use.

Guarantees: no element is lost or counted twice. Where an element takes the same amount of either kind, as much of the demand finds
room as any choice could find room for. Queues with the same ways get the same mix, to one element a way. The order of demands does not
matter: ties go by the names of queues. Kinds are told apart by the resource in which two ways differ most for the fleet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bushel.scheduling.fairness.demand import Demand, startable
from bushel.scheduling.fairness.tree import Tree

Kind = tuple[tuple[int, int], ...]
"""For each way the column that tells it from the others, and how much of it an element takes."""


@dataclass
class _Claim:
    """Demand of one queue that has several ways to be met. `given` counts elements by way."""

    leaf: int
    demand: Demand
    kind: Kind
    left: int
    given: list[int] = field(default_factory=list)


def choose_ways(tree: Tree, demands: Iterable[Demand]) -> list[Demand]:
    """The same demand, with one way each."""
    fixed: list[Demand] = []
    claims: list[_Claim] = []
    for demand in demands:
        leaf = tree.leaf_of.get(demand.queue_id)
        if len(demand.ways) == 1 or leaf is None:
            fixed.append(demand)
            continue
        ways = tuple(way for way in demand.ways if startable(tree, leaf, way))
        if len(ways) > 1:
            claims.append(_Claim(leaf, Demand(demand.queue_id, ways, demand.count), _kind(tree, ways), demand.count, [0] * len(ways)))
        else:
            fixed.append(Demand(demand.queue_id, ways or demand.ways[:1], demand.count))
    if not claims:
        return fixed
    claims.sort(key=lambda claim: (claim.leaf, claim.kind, [sorted(way.items()) for way in claim.demand.ways]))
    wanted = _wanted(tree, fixed)
    _claim_guarantees(tree, claims, wanted)
    free = [max(0, capacity - total) for capacity, total in zip(tree.exact_capacity.tolist(), wanted[0], strict=True)]
    by_kind: dict[Kind, list[_Claim]] = {}
    for claim in claims:
        by_kind.setdefault(claim.kind, []).append(claim)
    kinds = sorted(by_kind)
    counts = [sum(claim.left for claim in by_kind[kind]) for kind in kinds]
    for kind, mix in zip(kinds, mixes(kinds, counts, free, tree.exact_capacity.tolist()), strict=True):
        _deal(by_kind[kind], mix)
    for claim in claims:
        fixed += [Demand(claim.demand.queue_id, (way,), n) for way, n in zip(claim.demand.ways, claim.given, strict=True) if n]
    return fixed


def _kind(tree: Tree, ways: tuple[Mapping[str, int], ...]) -> Kind:
    """Of each way the resource in which it asks for most of the fleet, among those that some other way asks less of."""
    found = []
    for number, way in enumerate(ways):
        others = ways[:number] + ways[number + 1 :]
        telling = [name for name, amount in way.items() if any(other.get(name, 0) < amount for other in others)] or list(way)
        best = max(sorted(telling), key=lambda name: way[name] / max(1, int(tree.exact_capacity[tree.columns[name]])))
        found.append((tree.columns[best], max(1, way[best])))
    return tuple(found)


def _wanted(tree: Tree, demands: Iterable[Demand]) -> list[list[int]]:
    """By row and column, subtrees included; row 0 is all."""
    wanted = [[0] * len(tree.columns) for _ in range(tree.row_count)]
    parent = tree.parent.tolist()
    for demand in demands:
        leaf = tree.leaf_of.get(demand.queue_id)
        if leaf is not None and startable(tree, leaf, demand.ways[0]):
            for name, amount in demand.ways[0].items():
                if amount > 0:
                    row = leaf
                    while row >= 0:
                        wanted[row][tree.columns[name]] += amount * demand.count
                        row = parent[row]
    return wanted


def _claim_guarantees(tree: Tree, claims: list[_Claim], wanted: list[list[int]]) -> None:
    """Step 1. Nearest guarantee first; what is claimed counts for the queues above as well."""
    parent, promised = tree.parent.tolist(), tree.exact_promised.tolist()
    for claim in claims:
        path, row = [], claim.leaf
        while row > 0:
            path.append(row)
            row = parent[row]
        for number, (column, amount) in enumerate(claim.kind):
            for row in path:
                count = min(claim.left, max(0, promised[row][column] - wanted[row][column]) // amount)
                claim.given[number] += count
                claim.left -= count
                for above in (*path, 0):
                    wanted[above][column] += amount * count


def mixes(kinds: list[Kind], counts: list[int], free: list[int], capacity: list[int]) -> list[list[int]]:
    """Steps 2 and 3: how many elements of each kind go which way."""
    mixes = [[0] * len(kind) for kind in kinds]
    left = list(counts)
    for rank in range(max((len(kind) for kind in kinds), default=0)):
        for k, kind in enumerate(kinds):
            if rank < len(kind):
                column, amount = kind[rank]
                count = min(left[k], free[column] // amount)
                _move(mixes, left, free, kinds, [(k, -1, rank)], count)
    for k in range(len(kinds)):
        while left[k]:
            path = _way_to_room(k, kinds, mixes, free)
            if path is None:
                break
            count = _path_width(path, left[k], kinds, mixes, free)
            if count == 0:
                break
            _move(mixes, left, free, kinds, path, count)
    for k, kind in enumerate(kinds):
        weights = [capacity[column] // amount for column, amount in kind]
        total, before = max(1, sum(weights)), 0
        for number, weight in enumerate(weights):
            after = before + weight
            mixes[k][number] += left[k] * after // total - left[k] * before // total
            before = after
        mixes[k][0] += counts[k] - sum(mixes[k])
    return mixes


Path = list[tuple[int, int, int]]
"""Steps: kind, the way that it leaves (-1: not yet placed), the way that it takes instead."""


def _way_to_room(start: int, kinds: list[Kind], mixes: list[list[int]], free: list[int]) -> Path | None:
    """The shortest chain of moves that ends where there is room for one. Nothing makes room for what is larger than itself."""
    queue: list[tuple[int, int, Path]] = [(start, -1, [])]
    seen: set[int] = set()
    while queue:
        k, leaves, path = queue.pop(0)
        for number, (column, amount) in enumerate(kinds[k]):
            if number == leaves or column in seen:
                continue
            step = [*path, (k, leaves, number)]
            if free[column] >= amount:
                return step
            seen.add(column)
            for other, kind in enumerate(kinds):
                queue += [
                    (other, way, step) for way, (taken, size) in enumerate(kind) if taken == column and size >= amount and mixes[other][way]
                ]
    return None


def _path_width(path: Path, left: int, kinds: list[Kind], mixes: list[list[int]], free: list[int]) -> int:
    """How many elements of the first kind the chain makes room for."""
    k, _, way = path[-1]
    count = free[kinds[k][way][0]] // kinds[k][way][1]
    for k, leaves, _ in path[:0:-1]:
        count = min(count, mixes[k][leaves])
    return min(left, count)


def _move(mixes: list[list[int]], left: list[int], free: list[int], kinds: list[Kind], path: Path, count: int) -> None:
    for k, leaves, takes in path:
        if leaves < 0:
            left[k] -= count
        else:
            mixes[k][leaves] -= count
            free[kinds[k][leaves][0]] += count * kinds[k][leaves][1]
        mixes[k][takes] += count
        free[kinds[k][takes][0]] -= count * kinds[k][takes][1]


def _deal(claims: list[_Claim], mix: list[int]) -> None:
    """Give each queue its part of the mix, in whole elements: as near as can be to its part of all so far."""
    total, met, dealt = max(1, sum(claim.left for claim in claims)), 0, [0] * len(mix)
    for claim in claims:
        met += claim.left
        short = [count * met - given * total for count, given in zip(mix, dealt, strict=True)]  # in 1/total of an element
        part = [max(0, amount // total) for amount in short]
        while sum(part) > claim.left:
            part[max((way for way in range(len(part)) if part[way]), key=lambda way: (part[way] * total - short[way], way))] -= 1
        while sum(part) < claim.left:
            part[min(range(len(part)), key=lambda way: (part[way] * total - short[way], way))] += 1
        for way, count in enumerate(part):
            claim.given[way] += count
            dealt[way] += count
