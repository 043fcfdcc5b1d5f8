"""`bushel`: find the command, build its parser alone, run it, turn what went wrong into words and an exit code.

Guarantees: starting costs little more than the interpreter: only the module of the command in use is imported, and nothing
that it does not need. No traceback reaches a person unless `BUSHEL_DEBUG` is set.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from bushel.cli import exits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from bushel.cli.command import Command

_WITH_VALUE = ("--context", "--url", "--token-file", "--project", "-p", "--output", "-o")
"""Options that may also stand before the command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line's entry point; gives the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    _open_missing_streams()
    try:
        code = _ended(given)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _silence()
        return exits.BROKEN_PIPE
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except OSError as error:  # what was said could not be written
        with suppress(OSError):
            sys.stderr.write(f"error: {(error.strerror or str(error)).lower()}\n")
        _silence()
        return exits.ERROR


def _ended(given: list[str]) -> int:
    try:
        return _run(given)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else exits.ERROR


def _run(given: list[str]) -> int:
    before, rest = _split_leading_options(given)
    if not rest or rest[0] in ("-h", "--help", "help"):
        from bushel.cli.help import overview, show_help

        return show_help(rest[1:]) if rest[1:] else overview()
    if rest[0] in ("-V", "--version"):
        rest[0] = "version"
    found = find(rest)
    if isinstance(found, int):
        return found
    name, command, behind = found
    return _execute(name, command, [*before, *behind])


def find(words: list[str]) -> tuple[str, Command, list[str]] | int:
    """The command that `words` begin with, its whole name and what follows; an exit code where there is none or help was given."""
    from importlib import import_module

    from bushel.cli.commands import COMMANDS, GROUPS, SYNONYMS

    verb = words[0]
    if verb in COMMANDS:
        return verb, import_module(COMMANDS[verb].module).COMMANDS[verb], words[1:]
    if verb in GROUPS:
        verbs: dict[str, Command] = import_module(GROUPS[verb].module).VERBS[verb]
        second = SYNONYMS.get(words[1], words[1]) if len(words) > 1 else ""
        if second in verbs:
            return f"{verb} {second}", verbs[second], words[2:]
        from bushel.cli.help import group_help

        return group_help(verb, verbs, words[1] if len(words) > 1 else None)
    from bushel.cli.help import unknown_command

    return unknown_command(verb)


def _execute(name: str, command: Command, words: list[str]) -> int:
    from bushel.cli.command import build_parser
    from bushel.cli.session import Session

    behind: list[str] = []
    if "--" in words:
        at = words.index("--")
        words, behind = words[:at], words[at + 1 :]
    parser = build_parser(name, command)
    options = parser.parse_args(words)
    session = Session(options, command=tuple(behind))
    if behind and not getattr(options, "takes_command", False):
        parser.error(f"nothing may stand behind -- here: {' '.join(behind)}")
    try:
        return command.run(options, session) or exits.OK
    except (BrokenPipeError, KeyboardInterrupt, SystemExit):
        raise
    except Exception as error:
        if os.environ.get("BUSHEL_DEBUG"):
            raise
        from bushel.cli.failures import report

        return report(error, session)


def _split_leading_options(given: list[str]) -> tuple[list[str], list[str]]:
    """`bushel --context x ls` means `bushel ls --context x`."""
    at = 0
    while at < len(given) and given[at].startswith("-"):
        if given[at] in _WITH_VALUE:
            at += 2
        elif given[at].startswith("--") and given[at].partition("=")[0] in _WITH_VALUE:
            at += 1
        else:
            break
    return given[:at], given[at:]


def _open_missing_streams() -> None:
    """Whoever closed ours hears and says nothing."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - open as long as we are


def _silence() -> None:
    """Whoever read our output has gone; let nothing complain about it at exit."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, sys.stdout.fileno())
    os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
