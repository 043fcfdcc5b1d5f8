"""Every command that Bushel tells people to type exists, with the options that it names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import bushel
from bushel.cli.command import Command, build_parser
from bushel.cli.commands import COMMANDS, GROUPS

SOURCE = Path(bushel.__file__).parent
NAMES = {"agent", "api", "control", "bootstrap", "callback", "key", "watcher", "help", "for", "import"}
"""What stands behind `bushel` and is no command: names of processes, threads and connections, and plain words."""

PHRASE = re.compile(r"\bbushel (?P<words>[a-z][a-z-]*(?:(?!\bbushel )[^\n;,)`·…])*)")
OPTION = re.compile(r"(?<=\s)--?[a-z][a-z-]*")


def texts() -> Iterator[tuple[str, str]]:
    """Every text of the source with its place; what is put in while it runs stands as X."""
    for file in sorted(SOURCE.rglob("*.py")):
        within: set[int] = set()
        for node in ast.walk(ast.parse(file.read_text())):  # a text with parts comes before its parts
            place = f"{file.relative_to(SOURCE)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.JoinedStr):
                within.update(id(part) for part in node.values)
                yield place, "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in within:
                yield place, node.value


def named() -> Iterator[tuple[str, list[str], list[str]]]:
    """Place, words and options of each command that a text names."""
    for place, text in texts():
        for found in PHRASE.finditer(text):
            mine = found["words"].split(" -- ")[0]
            words = mine.split()
            words[0] = words[0].removesuffix(":")  # the name before a message
            if words[0].strip(".'") not in NAMES:
                yield place, words, OPTION.findall(mine)


def command_of(words: list[str]) -> tuple[str, Command] | None:
    first, second = words[0], words[1] if len(words) > 1 else ""
    if first in COMMANDS:
        return first, import_module(COMMANDS[first].module).COMMANDS[first]
    if first in GROUPS and second in (verbs := import_module(GROUPS[first].module).VERBS[first]):
        return f"{first} {second}", verbs[second]
    return None


def test_commands_are_found() -> None:
    assert len(list(named())) > 80


def test_every_command_that_is_told_to_people_exists() -> None:
    wrong = []
    for place, words, options in named():
        if len(words) == 1 and words[0] in GROUPS:  # the group as such
            continue
        found = command_of(words)
        if found is None:
            wrong.append(f"{place}: there is no bushel {' '.join(words[:2])}")
            continue
        known = {option for action in build_parser(*found)._actions for option in action.option_strings}
        wrong += [f"{place}: bushel {found[0]} has no {option}" for option in options if option not in known]
    assert not wrong, "\n".join(wrong)
