"""The sites and clusters that documents name must be there: a job that names none of them would wait for ever.

Guarantees: one query for a whole request, none where no document names a place; a second one looks for what was meant when
something is not there. A cluster that was removed is not there.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bushel.domain.errors import FieldProblem
from bushel.spec.problems import MOST_PROBLEMS, pointer
from bushel.store.database import Transaction

if TYPE_CHECKING:
    from bushel.control.submit import Draft

_KINDS = {"sites": "site", "clusters": "cluster"}
_MOST_CANDIDATES = 200
_MOST_SUGGESTIONS = 10

_KNOWN = """
    select 'sites' as kind, name from sites where name = any(%s)
    union all
    select 'clusters', name from clusters where name = any(%s) and removed_at is null
"""

_CANDIDATES = {
    "sites": "select name from sites order by name limit %s",
    "clusters": "select name from clusters where removed_at is null order by name limit %s",
}


def check_places(tx: Transaction, drafts: Sequence[Draft], problems: list[FieldProblem]) -> None:
    """Every site and cluster that a document names is there."""
    asking = [draft for draft in drafts if "placement" in draft.spec]
    named = {kind: {name for draft in asking for name in draft.spec["placement"].get(kind, ())} for kind in _KINDS}
    if not any(named.values()):
        return
    known = {(row["kind"], row["name"]) for row in tx.all(_KNOWN, (sorted(named["sites"]), sorted(named["clusters"])))}
    missing = {(kind, name) for kind, names in named.items() for name in names} - known
    if missing:
        problems.extend(_problems(asking, missing, _meant(tx, missing)))


def _meant(tx: Transaction, missing: set[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """For the first few, the nearest name that is there; the only one, where there is only one."""
    first = sorted(missing)[:_MOST_SUGGESTIONS]
    there = {kind: [row["name"] for row in tx.all(_CANDIDATES[kind], (_MOST_CANDIDATES,))] for kind in {kind for kind, _ in first}}
    meant: dict[tuple[str, str], str] = {}
    for kind, name in first:
        near = there[kind] if len(there[kind]) == 1 else difflib.get_close_matches(name, there[kind], n=1, cutoff=0.5)
        if near:
            meant[kind, name] = near[0]
    return meant


def _problems(asking: Sequence[Draft], missing: set[tuple[str, str]], meant: dict[tuple[str, str], str]) -> list[FieldProblem]:
    problems: list[FieldProblem] = []
    for draft in asking:
        for kind, noun in _KINDS.items():
            for number, name in enumerate(draft.spec["placement"].get(kind, ())):
                if (kind, name) in missing:
                    near = meant.get((kind, name))
                    sentence = f"there is no {noun} `{name}`" + (f". Did you mean `{near}`?" if near else "")
                    where = pointer((*draft.place, "placement", kind, number))
                    problems.append(FieldProblem(where, sentence, "not_found", near or f"bushel {noun} ls"))
        if len(problems) >= MOST_PROBLEMS:
            break
    return problems
