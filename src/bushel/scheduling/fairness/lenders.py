"""From whom each queue borrows what it borrows.

Guarantees: the loans of a queue add up to what it borrows, exactly; no queue is said to lend more than it lends; all loans among the
queues of one parent are fewer than these queues and their number of borrowers together. Resources have no names, so there is no one
true pairing: every borrower gets the same part of its loan from its siblings, and lenders are laid beside borrowers in order of
their rows (the north-west corner rule of transport problems; Dantzig 1951).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from bushel.scheduling.fairness.shares import Shares

Source = Literal["queue", "parent", "unpromised"]


@dataclass(frozen=True, slots=True)
class Loan:
    """`source`: another queue, the lender; what the parent has beyond its own guarantee; or what is guaranteed to nobody."""

    source: Source
    lender_id: int | None
    amount: int


def loans_of(shares: Shares, resource: str) -> dict[int, list[Loan]]:
    """By queue, of those that borrow any of `resource`."""
    column = shares.columns[resource]
    lent, borrowed, parents = shares.lent[:, column].tolist(), shares.borrowed[:, column].tolist(), shares.tree.parent.tolist()
    families: dict[int, list[tuple[int, int]]] = {}
    for queue_id, row in shares.rows.items():
        families.setdefault(parents[row], []).append((row, queue_id))
    found: dict[int, list[Loan]] = {}
    for parent, members in families.items():
        members.sort()
        wants = [(queue_id, borrowed[row]) for row, queue_id in members if borrowed[row]]
        if wants:
            lends = [(queue_id, lent[row]) for row, queue_id in members if lent[row]]
            found.update(_within(wants, lends, outside=lent[parent], beyond=borrowed[parent]))
    return found


def _within(wants: list[tuple[int, int]], lends: list[tuple[int, int]], outside: int, beyond: int) -> Iterator[tuple[int, list[Loan]]]:
    """Among siblings. `outside`: what their parent lends, and so they do; `beyond`: what it borrows, and so they may."""
    taken, there = sum(amount for _, amount in wants), sum(amount for _, amount in lends)
    from_siblings = _parts([amount for _, amount in wants], there, max(taken + outside, there))
    rests = [amount - part for (_, amount), part in zip(wants, from_siblings, strict=True)]
    rest = sum(rests)
    from_parent = _parts(rests, min(beyond, rest), max(rest, 1))
    left = iter(lends)
    lender_id, more = next(left, (None, 0))
    for (queue_id, _), part, remaining, above in zip(wants, from_siblings, rests, from_parent, strict=True):
        loans: list[Loan] = []
        while part and lender_id is not None:
            if given := min(part, more):
                loans.append(Loan("queue", lender_id, given))
            part, more = part - given, more - given
            if not more:
                lender_id, more = next(left, (None, 0))
        if above:
            loans.append(Loan("parent", None, above))
        if remaining > above:
            loans.append(Loan("unpromised", None, remaining - above))
        yield queue_id, loans


def _parts(amounts: Iterable[int], numerator: int, denominator: int) -> list[int]:
    """That fraction of each, rounded so that no sum over the first of them is a unit off."""
    parts: list[int] = []
    passed = given = 0
    for amount in amounts:
        passed += amount
        parts.append(passed * numerator // denominator - given)
        given += parts[-1]
    return parts
