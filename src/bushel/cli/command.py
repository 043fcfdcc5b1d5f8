"""What a command is, and how its parser is made: only that of the command in use, at the moment it is used."""

from __future__ import annotations

import argparse
import re
import sys

from bushel.cli import exits
from bushel.cli.session import terminal_width

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from bushel.cli.session import Session

OUTPUT_FORMATS = ("table", "wide", "json", "yaml", "jsonl", "name")


class Command:
    """One command. `arguments` adds to its parser, `run` does the work and gives the exit code (None is success)."""

    __slots__ = ("arguments", "connects", "description", "examples", "help", "output", "run")

    def __init__(
        self,
        help: str,
        run: Callable[[argparse.Namespace, Session], int | None],
        arguments: Callable[[argparse.ArgumentParser], None] | None = None,
        *,
        description: str | None = None,
        examples: str | None = None,
        output: bool = True,
        connects: bool = True,
    ) -> None:
        """`output`: it prints data, so it has `-o`; `connects`: it talks to Bushel, so it has `--context` and the like."""
        self.help = help
        self.run = run
        self.arguments = arguments
        self.description = description
        self.examples = examples
        self.output = output
        self.connects = connects


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Knows its width, so that making a parser does not import what would find it out."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=min(100, terminal_width(sys.stdout) or 100) - 2)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Sentences are wrapped, examples stay as they are."""
        import textwrap

        return "\n".join(indent + (line if line.startswith(" ") else textwrap.fill(line, width)) for line in text.splitlines())


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, what may have been meant, and ends with the exit code for it."""

    def error(self, message: str) -> NoReturn:
        message = re.sub("^argument ([^ ]+): invalid choice: '(.*)' \\(choose from (.*)\\)$", _bad_choice, message, flags=re.DOTALL)
        message = re.sub("^argument ([^ ]+): invalid (int|float) value: (.*)$", _bad_number, message, flags=re.DOTALL)
        sys.stderr.write(f"{self.prog}: {message}{self._nearest(message)}\nSee: {self.prog} --help\n")
        raise SystemExit(exits.USAGE)

    def _nearest(self, message: str) -> str:
        _, unknown, rest = message.partition("unrecognized arguments: ")
        if not unknown or not rest.startswith("-"):
            return ""
        import difflib

        known = [option for action in self._actions for option in action.option_strings]
        written = rest.split()[0].split("=")[0]
        if written in ("-f", "--file") and any(action.dest == "files" for action in self._actions):
            return ". Files are named without an option"
        near = difflib.get_close_matches(written, known, n=1, cutoff=0.5)
        return f". Did you mean {near[0]}?" if near else ""


def _bad_number(found: re.Match[str]) -> str:
    return f"{found[1]} takes a {'whole ' if found[2] == 'int' else ''}number, not {found[3]}"


def _bad_choice(found: re.Match[str]) -> str:
    """`--state gone: write held, queued or live`."""
    names = found[3].replace("'", "").split(", ")
    return f"{found[1].rpartition('/')[2]} {found[2]}: write {', '.join(names[:-1])} or {names[-1]}"


def build_parser(name: str, command: Command) -> Parser:
    """The parser of `bushel NAME`."""
    parser = Parser(
        prog=f"bushel {name}",
        description=command.description or command.help[:1].upper() + command.help[1:] + ".",
        epilog=f"examples:\n{command.examples}" if command.examples else None,
        formatter_class=_Formatter,
        allow_abbrev=False,
        add_help=False,
    )
    if command.arguments:
        command.arguments(parser)
    common = parser.add_argument_group("common options")
    if command.output:
        add_output(common)
    if command.connects:
        add_connection(common)
    common.add_argument("-h", "--help", action="help", help="show this and exit")
    return parser


def add_output(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "-o",
        "--output",
        choices=OUTPUT_FORMATS,
        default="table",
        metavar="FORMAT",
        help=f"one of {', '.join(OUTPUT_FORMATS)}; default table",
    )


def add_connection(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("-p", "--project", metavar="PATH", help="project, such as acme/research/vision")
    parser.add_argument("--context", metavar="NAME", help="one of `bushel context ls`")
    parser.add_argument("--url", metavar="URL", help="address of the API")
    parser.add_argument("--token-file", metavar="FILE", help="file that holds the token")
