"""What `--help` prints, and what to say to a command that does not exist."""

from __future__ import annotations

import sys

from bushel.cli import exits
from bushel.cli.commands import COMMANDS, GROUPS, SECTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bushel.cli.command import Command


_OTHER_NAMES = {
    "delete": "cancel",
    "jobs": "ls",
    "kill": "cancel",
    "list": "ls",
    "log": "logs",
    "ps": "ls",
    "rm": "cancel",
    "show": "get",
    "start": "up",
    "status": "get",
    "stop": "cancel",
    "tail": "logs",
}
"""What other tools call it."""


def overview() -> int:
    lines = ["usage: bushel COMMAND [OPTIONS]", "", "Run batch jobs on every cluster you have.", ""]
    entries = {**COMMANDS, **GROUPS}
    for section in SECTIONS:
        lines.append(f"{section}:")
        lines += [f"  {name:<12}{entry.help}" for name, entry in entries.items() if entry.section == section]
        lines.append("")
    lines += ["bushel COMMAND --help says more. Start: bushel up, then bushel run -- echo hello"]
    sys.stdout.write("\n".join(lines) + "\n")
    return exits.OK


def show_help(words: Sequence[str]) -> int:
    """`bushel help COMMAND`."""
    from bushel.cli.command import build_parser
    from bushel.cli.main import find

    found = find(list(words))
    if isinstance(found, int):
        return found
    name, command, _ = found
    build_parser(name, command).print_help()
    return exits.OK


def group_help(group: str, verbs: Mapping[str, Command], given: str | None) -> int:
    """The commands of a group; a complaint when `given` is none of them."""
    asked = given in (None, "-h", "--help")
    lines = [] if asked else [f"bushel {group}: there is no command {given!r}{_nearest(given or '', list(verbs))}"]
    if asked:
        lines += [f"usage: bushel {group} COMMAND [OPTIONS]", "", f"{GROUPS[group].help}:"]
        lines += [f"  {name:<12}{command.help[:1].lower()}{command.help[1:]}" for name, command in verbs.items()]
    else:
        lines.append(f"See: bushel {group} --help")
    text = "\n".join(lines) + "\n"
    if given in ("-h", "--help"):
        sys.stdout.write(text)
        return exits.OK
    sys.stderr.write(text)
    return exits.USAGE


def unknown_command(verb: str) -> int:
    if verb.startswith("-"):
        sys.stderr.write(f"bushel: unknown option {verb}\nSee: bushel --help\n")
    else:
        sys.stderr.write(f"bushel: there is no command {verb!r}{_meant(verb)}\nSee: bushel --help\n")
    return exits.USAGE


def _meant(verb: str) -> str:
    other = _OTHER_NAMES.get(verb)
    return f". Did you mean {other}?" if other else _nearest(verb, [*COMMANDS, *GROUPS])


def _nearest(written: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(written, known, n=1, cutoff=0.6)
    return f". Did you mean {near[0]}?" if near else ""
