"""Lines that change in place, on a terminal alone.

Guarantees: nothing is written where stderr is no terminal; the lines are gone when the block is left, so that what is
printed next stands where they stood.
"""

from __future__ import annotations

from bushel.cli.session import terminal_width
from bushel.cli.terminal import defused
from bushel.cli.words import shorten, width

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from bushel.cli.session import Session

BAR_COLUMNS = 20


class Live:
    """Use in `with`; call `show` as often as something changed."""

    def __init__(self, session: Session) -> None:
        self._err = session.err
        self._on = session.err.isatty()
        self._shown = 0

    def show(self, lines: Sequence[str]) -> None:
        if not self._on:
            return
        columns = (terminal_width(self._err) or 80) - 1
        text = "".join(f"{_fitted(defused(line), columns)}\x1b[K\n" for line in lines)
        self._err.write(self._back() + text + "\x1b[J")
        self._err.flush()
        self._shown = len(lines)

    def clear(self) -> None:
        if self._shown:
            self._err.write(self._back() + "\x1b[J")
            self._err.flush()
            self._shown = 0

    def _back(self) -> str:
        return f"\x1b[{self._shown}A\r" if self._shown else ""

    def __enter__(self) -> Live:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.clear()


def _fitted(line: str, columns: int) -> str:
    """At most so many columns; colours take none, and go where something has to be cut."""
    import re

    bare = re.sub("\x1b\\[[0-9;]*m", "", line)
    return line if width(bare) <= columns else shorten(bare, columns)


def bar(done: float, total: float, columns: int = BAR_COLUMNS) -> str:
    """`████░░░░` of so many columns."""
    filled = round(columns * min(1.0, done / total)) if total else 0
    return "█" * filled + "░" * (columns - filled)
