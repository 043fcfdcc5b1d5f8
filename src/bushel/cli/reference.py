"""`python -m bushel.cli.reference`: docs/reference/cli.md, made of the parsers themselves."""

from __future__ import annotations

import argparse
import sys

from bushel.cli.catalogue import Item, catalogue
from bushel.cli.commands import SECTIONS

HEAD = """# Commands

Every command of `bushel`. This page is made from the commands themselves: `python -m bushel.cli.reference`.

Data goes to standard output, everything else to standard error. `-o` chooses the form: `table` (for people, fitted to the terminal),
`wide`, `json`, `yaml`, `jsonl` (one JSON document a line) or `name` (the id alone). Colour is used on a terminal only, and not when
`NO_COLOR` is set.

What other people, agents and tasks wrote cannot command your terminal: control characters, changes of the direction of writing and
escape sequences in it are shown as `�`, and escaped in JSON and YAML. The output of tasks is changed on a terminal alone, where
colours, tabs, backspaces and carriage returns still pass; `bushel logs k7q2m | cat` shows it as it was printed.

## Exit codes

| code | meaning |
|---|---|
| 0 | done; for `bushel wait`, all jobs succeeded |
| 1 | an error, a lost log stream among them |
| 2 | the command line or a document is wrong |
| 3 | Bushel was not reached |
| 4 | no valid token, or not allowed |
| 5 | not found |
| 6 | conflict: the object's state does not allow it, or somebody else was first |
| 7 | a quota would be passed |
| 100 | a job that was waited for failed |
| 101 | a job that was waited for had not ended when the time was up |
| 102 | a job that was waited for was not found |
| 103 | a job that was waited for was cancelled |
| 130 | interrupted by Ctrl-C; jobs go on |

`bushel run` exits with the exit code of the task itself when that failed.

## Which Bushel

The first of these that is there says where Bushel is and who you are: `--url`, `--token-file` and `--context`; `BUSHEL_URL` with
`BUSHEL_TOKEN`, or `BUSHEL_CONTEXT`; the installation in `BUSHEL_HOME`, where that is set; the context chosen by `bushel context use`; the
installation of this machine. `--project`, then `BUSHEL_PROJECT`, then the context's says which project is meant;
that of this machine's installation is `home/main/main`, for its administrator, until `bushel context use --project PATH` changes it.
A path above projects, such as `home`, means all of them where jobs are looked for: `bushel ls -p home`.
"""


def page() -> str:
    """The whole page."""
    items = list(catalogue())
    parts = [HEAD]
    for section in SECTIONS:
        parts.append(f"## {section}\n")
        parts += [_command(item) for item in items if item.entry.section == section]
    return "\n".join(parts).rstrip() + "\n"


def _command(item: Item) -> str:
    command = item.command
    description = command.description or command.help[:1].upper() + command.help[1:] + "."
    lines = [f"### bushel {item.name}\n", description.replace("\n", " ") + "\n", f"    {_usage(item)}\n"]
    rows = [f"| `{_metavar(action)}` | {_help(action)} |" for action in item.arguments]
    rows += [f"| `{_option(action)}` | {_help(action)} |" for action in item.options if action.dest not in _COMMON]
    if rows:
        lines += ["| | |", "|---|---|", *rows, ""]
    if command.examples:
        lines += ["```", *(line.removeprefix("  ") for line in command.examples.splitlines()), "```", ""]
    return "\n".join(lines)


_COMMON = frozenset({"help", "output", "project", "context", "url", "token_file"})


def _usage(item: Item) -> str:
    if item.parser.usage:
        return item.parser.usage
    arguments = []
    for action in item.arguments:
        name = _metavar(action)
        arguments.append({"*": f"[{name} ...]", "+": f"{name} [{name} ...]", "?": f"[{name}]"}.get(str(action.nargs), name))
    return " ".join([f"bushel {item.name}", "[OPTIONS]", *arguments])


def _metavar(action: argparse.Action) -> str:
    return str(action.metavar or action.dest.upper())


def _option(action: argparse.Action) -> str:
    names = ", ".join(action.option_strings)
    return names if action.nargs == 0 else f"{names} {_metavar(action)}".replace("|", "\\|")


def _help(action: argparse.Action) -> str:
    text = (action.help or "").replace("%%", "%").replace("|", "\\|")
    needed = " (needed)" if action.option_strings and action.required else ""
    return text + needed


if __name__ == "__main__":
    sys.stdout.write(page())
