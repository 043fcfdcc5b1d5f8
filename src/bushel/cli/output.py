"""Data on stdout, in the format asked for.

Guarantees: a table on a terminal never wraps: its widest columns are shortened first, then whole columns of least weight
are left out; piped, nothing is shortened. `json`, `jsonl` and `yaml` hold what the API sent, unchanged.
"""

from __future__ import annotations

from bushel.cli.session import terminal_width
from bushel.cli.terminal import to_json, to_yaml
from bushel.cli.words import plain, shorten, width

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from bushel.cli.session import Session

LEAST_COLUMN_WIDTH = 8


class Column:
    """`of` gives an item's text. `right` aligns numbers; `least` is the width below which it is not shortened (0: never);
    `weight` says which column is left out first when even that does not fit (0: never); `wide` ones show with `-o wide` alone."""

    __slots__ = ("header", "least", "of", "right", "style", "weight", "wide")

    def __init__(
        self,
        header: str,
        of: Callable[[Any], object],
        *,
        right: bool = False,
        least: int = 0,
        weight: int = 0,
        wide: bool = False,
        style: Callable[[Any], tuple[str, ...]] | None = None,
    ) -> None:
        self.header = header
        self.of = of
        self.right = right
        self.least = least
        self.weight = weight
        self.wide = wide
        self.style = style


def show_list(session: Session, items: Sequence[Any], columns: Sequence[Column], *, name: Callable[[Any], str], empty: str) -> None:
    """Many items. `empty` is what to tell people when there are none."""
    if session.output == "name":
        for item in items:
            session.say(name(item))
    elif session.output == "json":
        session.say(to_json({"items": list(items)}, indent=2))
    elif session.output == "jsonl":
        for item in items:
            session.say(to_json(item))
    elif session.output == "yaml":
        session.say(to_yaml({"items": list(items)}))
    elif not items:
        session.note(empty)
    else:
        shown = [column for column in columns if session.output == "wide" or not column.wide]
        for line in table(session, items, shown):
            session.say(line)


def show_object(session: Session, item: Any, *, name: Callable[[Any], str], lines: Callable[[Any], Iterable[str]]) -> None:
    """One item; `lines` are what people see of it."""
    if session.output == "name":
        session.say(name(item))
    elif session.output == "json":
        session.say(to_json(item, indent=2))
    elif session.output == "jsonl":
        session.say(to_json(item))
    elif session.output == "yaml":
        session.say(to_yaml(item))
    else:
        for line in lines(item):
            session.say(line)


def table(session: Session, items: Sequence[Any], columns: Sequence[Column]) -> list[str]:
    """Header and rows, fitted to the terminal."""
    texts = [[plain(column.of(item)) for item in items] for column in columns]
    widths = [max(map(width, [column.header, *cells])) for column, cells in zip(columns, texts, strict=True)]
    available = terminal_width(session.out)
    kept = [at for at, cells in enumerate(texts) if not columns[at].weight or any(cells)]  # a column that says nothing is left out
    if available is not None:
        kept = _fit(columns, widths, kept, available)
    lines = [_line(session, [(columns[at], columns[at].header, widths[at], ("bold",)) for at in kept])]
    for row, item in enumerate(items):
        cells = []
        for at in kept:
            style = columns[at].style
            cells.append((columns[at], texts[at][row], widths[at], style(item) if style else ()))
        lines.append(_line(session, cells))
    return lines


def _fit(columns: Sequence[Column], widths: list[int], kept: list[int], available: int) -> list[int]:
    """Make `widths` of the columns `kept` fit; gives those that stay."""
    kept = list(kept)
    while True:
        excess = sum(widths[at] for at in kept) + 2 * (len(kept) - 1) - available
        while excess > 0:
            candidates = [at for at in kept if columns[at].least and widths[at] > max(columns[at].least, width(columns[at].header))]
            if not candidates:
                break
            widest = max(candidates, key=lambda at: widths[at])
            widths[widest] -= 1
            excess -= 1
        droppable = [at for at in kept if columns[at].weight]
        if excess <= 0 or not droppable:
            return kept
        kept.remove(min(droppable, key=lambda at: columns[at].weight))


def _line(session: Session, cells: Sequence[tuple[Column, str, int, tuple[str, ...]]]) -> str:
    parts = []
    for column, text, columns, styles in cells:
        cut = shorten(text, columns)
        padding = " " * (columns - width(cut))
        painted = session.paint(cut, *styles)
        parts.append(padding + painted if column.right else painted + padding)
    return "  ".join(parts).rstrip()
