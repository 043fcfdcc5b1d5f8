"""Fair shares by exact fractions: small, slow, and as near to the definition in docs/concepts/fair-share.md as code can be.

It shares no code with `bushel.scheduling.fairness`, and takes the same records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor, inf

from bushel.scheduling.entities import Queue
from bushel.scheduling.fairness import Demand

ZERO, ONE = Fraction(0), Fraction(1)
Shape = tuple[int, frozenset[str]]


@dataclass(eq=False)
class Node:
    """A queue; `queue_id` None is the fleet. `own` marks the leaf for the jobs of a queue that has children."""

    queue_id: int | None
    own: bool
    weight: int
    promised: dict[str, Fraction]
    top: Mapping[str, Fraction | float]
    withheld: dict[str, Fraction]
    parent: Node | None = None
    children: list[Node] = field(default_factory=list)
    wants: dict[frozenset[str], dict[str, Fraction]] = field(default_factory=dict)

    def walk(self) -> Iterator[Node]:
        """Children first."""
        for child in self.children:
            yield from child.walk()
        yield self

    def path(self) -> Iterator[Node]:
        yield self
        if self.parent is not None:
            yield from self.parent.path()

    def wish(self, resource: str) -> Fraction:
        return sum((amounts.get(resource, ZERO) for amounts in self.wants.values()), ZERO)


def grow(queues: Sequence[Queue], capacity: Mapping[str, int | Fraction], demands: Sequence[Demand]) -> Node:
    def visit(queue: Queue, parent: Node) -> Node:
        tops: dict[str, Fraction | float] = {}
        node = Node(queue.id, False, queue.weight, {}, tops, {}, parent)
        below = sorted((other for other in queues if other.parent_id == queue.id), key=lambda other: (other.name, other.id))
        if below:
            node.children.append(
                Node(queue.id, True, 1000, dict.fromkeys(capacity, ZERO), dict.fromkeys(capacity, inf), dict.fromkeys(capacity, ZERO), node)
            )
        node.children += [visit(other, node) for other in below]
        for r in capacity:
            implied = sum((child.promised[r] for child in node.children), ZERO)
            node.promised[r] = Fraction(queue.guarantee.get(r, implied))
        for r in capacity:
            parts = [node.promised[other] for other in capacity if other.startswith(r + "/")]
            node.promised[r] = max([node.promised[r], sum(parts, ZERO)])
            tops[r] = min(queue.quota.get(r, inf), node.promised[r] + (queue.borrowing or {}).get(r, inf))
            kept_back = max(ZERO, node.promised[r] - (queue.lending or {}).get(r, inf))
            node.withheld[r] = Fraction(min(kept_back, node.top[r]))
        return node

    exact = {r: Fraction(amount) for r, amount in capacity.items()}
    root = Node(None, False, 1, dict(exact), {**exact}, dict.fromkeys(capacity, ZERO))
    root.children = [visit(queue, root) for queue in sorted(queues, key=lambda q: (q.name, q.id)) if queue.parent_id is None]
    leaves = {node.queue_id: node for node in root.walk() if not node.children}
    for demand in demands:
        leaf, amounts = leaves[demand.queue_id], demand.ways[0]
        if all(r in capacity and amount <= min(node.top[r] for node in leaf.path()) for r, amount in amounts.items() if amount):
            kind = frozenset(r for r, amount in amounts.items() if amount)
            sums = leaf.wants.setdefault(kind, {})
            for r in kind:
                sums[r] = sums.get(r, ZERO) + demand.count * Fraction(amounts[r])
    return root


def water(amount: Fraction, claims: Sequence[tuple[Fraction | int, Fraction]]) -> list[Fraction]:
    """One level for all claims (weight, room): raise it from one room to the next until the amount is gone."""
    grants, level, left = [ZERO for _ in claims], ZERO, amount
    while left > 0:
        open_ = [i for i, (weight, room) in enumerate(claims) if weight > 0 and grants[i] < room]
        if not open_:
            break
        weight = sum(Fraction(claims[i][0]) for i in open_)
        rise = min([left / weight] + [claims[i][1] / claims[i][0] - level for i in open_])
        level += rise
        for i in open_:
            grants[i] += claims[i][0] * rise
        left -= weight * rise
    return grants


def allot(root: Node, r: str, capacity: Fraction, eager: bool = False) -> dict[Node, Fraction]:
    """What each queue may be charged of one resource. Eager: who wants some is taken to want all."""
    sure: dict[Node, Fraction] = {}
    need: dict[Node, Fraction] = {}
    for node in root.walk():
        wish = node.wish(r)
        for table, own in ((sure, wish), (need, capacity if eager and wish > 0 else wish)):
            inner = sum((table[child] for child in node.children), ZERO) if node.children else own
            table[node] = max(node.withheld[r], Fraction(min(inner, node.top[r])))
    given = {root: min(capacity, need[root])}
    for node in list(root.walk())[::-1]:
        kids, left, got = node.children, given[node], [ZERO for _ in node.children]
        rounds = (
            [(kid.withheld[r], kid.withheld[r]) for kid in kids],
            [(kid.promised[r], min(kid.promised[r], sure[kid])) for kid in kids],
            [(Fraction(kid.weight), need[kid]) for kid in kids],
            [(ONE, need[kid]) for kid in kids],
        )
        for claims in rounds:
            more = water(left, [(weight, max(ZERO, up_to - got[i])) for i, (weight, up_to) in enumerate(claims)])
            got = [a + b for a, b in zip(got, more, strict=True)]
            left -= sum(more, ZERO)
        given |= dict(zip(kids, got, strict=True))
    return given


class Reference:
    """Entitlements of all leaves, and all that leads to them."""

    def __init__(self, queues: Sequence[Queue], capacity: Mapping[str, int | Fraction], demands: Sequence[Demand]) -> None:
        self.root = grow(queues, capacity, demands)
        self._solve({r: allot(self.root, r, Fraction(amount), eager=True) for r, amount in capacity.items()})

    def _solve(self, slices: Mapping[str, dict[Node, Fraction]]) -> None:
        self.capacity = {r: slices[r][self.root] for r in slices}
        self.slices = slices
        self.nodes = list(self.root.walk())
        self.floor = {(node, r): min(node.withheld[r], slices[r][node]) for node in self.nodes for r in slices}
        self.shapes = [(node, kind) for node in self.nodes for kind in node.wants]
        self.served = dict.fromkeys(self.shapes, ZERO)
        for at in self.nodes:
            self._fill(at)

    @classmethod
    def alone(cls, other: Reference, at: Node) -> Reference:
        """One queue of another tree by itself, on its slices."""
        made = cls.__new__(cls)
        made.root = at
        below = list(at.walk())
        limits = {r: other.slices[r][at] for r in other.slices}
        above, tops = at.parent, at.top
        at.parent, at.top = None, dict(limits)
        try:
            made._solve({r: {node: other.slices[r][node] for node in below} for r in other.slices})
        finally:
            at.parent, at.top = above, tops
        return made

    def inner(self, served: Mapping[tuple[Node, frozenset[str]], Fraction], nodes: Sequence[Node]) -> dict[tuple[Node, str], Fraction]:
        """What each queue is charged before its own withheld part."""
        held: dict[tuple[Node, str], Fraction] = {}
        for node in nodes:
            for r in self.slices:
                if node.children:
                    held[node, r] = sum((max(held[kid, r], self.floor[kid, r]) for kid in node.children), ZERO)
                else:
                    held[node, r] = sum((amounts.get(r, ZERO) * served[node, kind] for kind, amounts in node.wants.items()), ZERO)
        return held

    def full(self, at: Node, node: Node, r: str, held: Mapping[tuple[Node, str], Fraction]) -> bool:
        """Whether more use of `r` at `node` would pass a ceiling up to `at`."""
        for above in node.path():
            if held[above, r] < self.floor[above, r]:
                return False
            mine = self.slices[r][above] if above is at else above.top[r]
            if held[above, r] >= mine:
                return True
            if above is at:
                return False
        return False

    def _fill(self, at: Node) -> None:
        below = list(at.walk())
        mine = [(node, kind) for node in below for kind in node.wants]
        while True:
            held = self.inner(self.served, below)
            active = [(n, kind) for n, kind in mine if self.served[n, kind] < 1 and not any(self.full(at, n, r, held) for r in kind)]
            pace = self._paces(at, below, active)
            if not any(pace.values()):
                return
            grows: dict[tuple[Node, str], Fraction] = {}
            step: Fraction = min((1 - self.served[shape]) / speed for shape, speed in pace.items() if speed)
            for (node, kind), speed in pace.items():
                for r in kind:
                    for above in node.path():
                        grows[above, r] = grows.get((above, r), ZERO) + speed * node.wants[kind][r]
                        if above is at or held[above, r] < self.floor[above, r]:
                            break
            for (node, r), rise in grows.items():
                marks = self.floor[node, r], self.slices[r][node] if node is at else node.top[r]
                step = min([step] + [(Fraction(mark) - held[node, r]) / rise for mark in marks if rise and held[node, r] < mark < inf])
            for shape, speed in pace.items():
                self.served[shape] += speed * step

    def _paces(self, at: Node, below: list[Node], active: list[tuple[Node, frozenset[str]]]) -> dict[tuple[Node, frozenset[str]], Fraction]:
        claim: dict[tuple[Node, str], Fraction] = {}
        for node, kind in active:
            for r in kind:
                claim[node, r] = claim.get((node, r), ZERO) + node.wants[kind][r]
        taker = set(claim)
        for node in below:
            taker |= {(node, r) for r in self.slices if any((kid, r) in taker for kid in node.children)}
        offer = {(at, r): self.slices[r][at] for r in self.slices}
        for node in below[::-1]:
            for r in self.slices:
                kids = [kid for kid in node.children if (kid, r) in taker]
                total = sum(kid.weight for kid in kids)
                for kid in kids:
                    offer[kid, r] = offer[node, r] * (Fraction(kid.weight, total) if total else Fraction(1, len(kids)))
        return {(node, kind): min(offer[node, r] / claim[node, r] for r in kind) for node, kind in active}

    def entitled(self) -> dict[int, dict[str, Fraction]]:
        held = self.inner(self.served, self.nodes)
        return {
            node.queue_id: {r: held[node, r] for r in self.slices} for node in self.nodes if not node.children and node.queue_id is not None
        }

    def rounded(self) -> dict[int, dict[str, int]]:
        """Whole units along the tree."""
        held = self.inner(self.served, self.nodes)
        found: dict[int, dict[str, int]] = {node.queue_id: {} for node in self.nodes if not node.children and node.queue_id is not None}

        def walk(node: Node, r: str, start: Fraction) -> Fraction:
            total = start
            if not node.children:
                total += held[node, r]
                if node.queue_id is not None:
                    found[node.queue_id][r] = floor(total) - floor(start)
            for kid in node.children:
                total = walk(kid, r, total)
            return max(total, start + self.floor[node, r])

        for r in self.slices:
            walk(self.root, r, ZERO)
        return found
