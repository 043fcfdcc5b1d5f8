"""What a data set may be used for and where it may lie, and how that passes to what is made of it.

Guarantees: what is made of several versions is under the jurisdictions of all of them and may be used only for what all of them may be
used for; the order of the inputs does not matter, and an input more never makes the outcome freer. Only a data set that is declared
as released sheds the jurisdictions, and then it says which ones it shed.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from typing import Any

JURISDICTION, PURPOSE, COORDINATES, RELEASED_FROM = "jurisdiction", "purpose", "coordinate_system", "released_from"


class LabelConflict(ValueError):
    """The inputs, or an input and what was declared, exclude each other."""


def inherited(inputs: Sequence[Mapping[str, Any]], own: Mapping[str, Any], *, released: bool = False) -> dict[str, Any]:
    """Labels of a version that was made of `inputs`, where `own` is declared of it.

    Raises:
        LabelConflict: there is no purpose left, or the inputs' coordinate systems differ and none is declared.
    """
    everything = (*inputs, own)
    jurisdictions = _union(everything, JURISDICTION)
    shed = _union(everything, RELEASED_FROM) | (jurisdictions if released else set())
    labels: dict[str, Any] = {}
    if jurisdictions and not released:
        labels[JURISDICTION] = sorted(jurisdictions)
    purposes = _purposes(everything)
    if purposes is not None:
        labels[PURPOSE] = sorted(purposes)
    coordinates = own.get(COORDINATES) or _coordinates(inputs)
    if coordinates:
        labels[COORDINATES] = coordinates
    if shed:
        labels[RELEASED_FROM] = sorted(shed)
    return labels


def _union(labels: Iterable[Mapping[str, Any]], name: str) -> set[str]:
    return {value for each in labels for value in each.get(name) or ()}


def _purposes(labels: Iterable[Mapping[str, Any]]) -> set[str] | None:
    """None: any purpose will do."""
    stated = [set(each[PURPOSE]) for each in labels if each.get(PURPOSE)]
    if not stated:
        return None
    common = set.intersection(*stated)
    if not common:
        names = " and for ".join(", ".join(sorted(purposes)) for purposes in stated)
        raise LabelConflict(f"no purpose is left: the one may be used for {names} alone")
    return common


def _coordinates(inputs: Iterable[Mapping[str, Any]]) -> str | None:
    found = sorted({each[COORDINATES] for each in inputs if each.get(COORDINATES)})
    if len(found) > 1:
        raise LabelConflict(f"the inputs have the coordinate systems {', '.join(found)}: declare which one this has")
    return found[0] if found else None


def reachable(place_sites: Collection[str], site: str | None) -> bool:
    """Whether a task at `site` may read and write in a place that is bound to `place_sites`. None: nobody says where it is."""
    return not place_sites or (site is not None and site in place_sites)


def share_a_site(some: Collection[str], others: Collection[str]) -> bool:
    """Whether one task could have reached both of two places."""
    return not some or not others or bool(set(some) & set(others))


def may_lie(jurisdictions: Collection[str], place_jurisdiction: str) -> bool:
    """Whether data under `jurisdictions` may be stored in a place under `place_jurisdiction`."""
    return set(jurisdictions) <= {place_jurisdiction}
