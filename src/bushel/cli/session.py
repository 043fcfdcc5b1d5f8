"""What a command works with: where Bushel is, what to print on, and how to talk to people.

Guarantees: data goes to stdout and talk to stderr; colour and progress only to a terminal, and no colour with `NO_COLOR`;
nothing is resolved or connected before it is needed; nothing that is said commands the terminal.
"""

from __future__ import annotations

import os
import sys

from bushel.cli.terminal import defused

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator
    from typing import Any, TextIO, TypeVar

    from bushel.client.caller import Caller
    from bushel.client.context import Context
    from bushel.client.operation import Operation

    Result = TypeVar("Result")

PATIENCE_SECONDS = 1.0
"""How long a command goes on trying when Bushel is not reached: a person is waiting."""

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34"}


class Session:
    """One run of one command."""

    def __init__(self, options: argparse.Namespace, *, command: tuple[str, ...] = ()) -> None:
        """`command`: what stood behind `--` on the command line."""
        self.options = options
        self.command = command
        self.out: TextIO = sys.stdout
        self.err: TextIO = sys.stderr
        self._caller: Caller | None = None
        self._context: Context | None = None

    @property
    def output(self) -> str:
        return getattr(self.options, "output", "table")

    @property
    def context(self) -> Context:
        """
        Raises:
            NoContext: nothing says where Bushel is.
        """
        if self._context is None:
            from bushel.client import context

            self._context = context.resolve(
                url=getattr(self.options, "url", None),
                token=self._token(),
                context=getattr(self.options, "context", None),
            )
        return self._context

    @property
    def project(self) -> str | None:
        """The project to use where one must be named: the flag, the variable, the context's; None leaves it to the server."""
        return getattr(self.options, "project", None) or self.context.project

    @property
    def caller(self) -> Caller:
        if self._caller is None:
            from bushel import __version__
            from bushel.client.caller import Caller

            self._caller = Caller(self.context, patience_seconds=PATIENCE_SECONDS, user_agent=f"bushel-cli/{__version__}")
        return self._caller

    def call(self, operation: Operation[Result]) -> Result:
        """As `Caller.call`."""
        return self.caller.call(operation)

    def pages(self, define: Callable[[str | None], Operation[Any]]) -> Iterator[dict[str, Any]]:
        return self.caller.pages(define)

    def _token(self) -> str | None:
        path = getattr(self.options, "token_file", None)
        if path is None:
            return None
        with open(path, encoding="utf-8") as file:
            return file.read().strip()

    # Talking ------------------------------------------------------------------------------------------------------

    @property
    def for_people(self) -> bool:
        """Whether the output asked for is one that people read."""
        return self.output in ("table", "wide")

    def say(self, text: str = "") -> None:
        """Data, on stdout."""
        self.out.write(defused(text) + "\n")

    def note(self, text: str) -> None:
        """Talk, on stderr."""
        self.out.flush()
        self.err.write(defused(text) + "\n")
        self.err.flush()

    def next(self, *commands: str) -> None:
        """What to do next; once, at the end."""
        if self.for_people:
            self.note("Next: " + " · ".join(commands))

    def paint(self, text: str, *styles: str, stream: TextIO | None = None) -> str:
        """`text` in colour where that is wanted."""
        if not styles or not colour_wanted(stream or self.out):
            return text
        return f"\x1b[{';'.join(_STYLES[style] for style in styles)}m{text}\x1b[0m"

    def confirm(self, question: str) -> bool:
        """Ask on the terminal; False where there is none to ask on."""
        if not (sys.stdin.isatty() and self.err.isatty()):
            return False
        self.err.write(defused(f"{question} [y/N] "))
        self.err.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")


def colour_wanted(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def terminal_width(stream: TextIO) -> int | None:
    """Columns of the terminal behind `stream`; None if it is none, unless `COLUMNS` says otherwise."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and int(columns) > 0:
        return int(columns)
    try:
        return os.get_terminal_size(stream.fileno()).columns if stream.isatty() else None
    except (OSError, ValueError):
        return None
