"""All commands with their parsers: what completion and the reference page are made of."""

from __future__ import annotations

import argparse
from importlib import import_module

from bushel.cli.command import Command, Parser, build_parser
from bushel.cli.commands import COMMANDS, GROUPS, Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Item:
    """One command: its whole name, its entry in the table, itself and its parser."""

    __slots__ = ("command", "entry", "name", "parser")

    def __init__(self, name: str, entry: Entry, command: Command, parser: Parser) -> None:
        self.name = name
        self.entry = entry
        self.command = command
        self.parser = parser

    @property
    def options(self) -> list[argparse.Action]:
        return [action for action in self.parser._actions if action.option_strings]

    @property
    def arguments(self) -> list[argparse.Action]:
        return [action for action in self.parser._actions if not action.option_strings]


def catalogue() -> Iterator[Item]:
    """Every command, groups' commands among them."""
    for name, entry in COMMANDS.items():
        command = import_module(entry.module).COMMANDS[name]
        yield Item(name, entry, command, build_parser(name, command))
    for group, entry in GROUPS.items():
        for verb, command in import_module(entry.module).VERBS[group].items():
            yield Item(f"{group} {verb}", entry, command, build_parser(f"{group} {verb}", command))
