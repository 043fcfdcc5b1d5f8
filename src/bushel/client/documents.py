"""Read documents out of YAML, and remember where in the text each field stands.

Guarantees: YAML 1.2's plain scalars, so `on:` is a text and `1:30` is no number; a field that stands twice, a tag, an anchor
that contains itself or one that unfolds without end is an error; every error says file, line and the line's text, of a long one
what stands around the place. Nothing in a file can command the terminal on which its errors are shown.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

from bushel.domain.errors import FieldProblem, InvalidDocument

MOST_FILE_BYTES = 32 * 1024 * 1024
MOST_NODES = 1_000_000
"""Of one document, with all its aliases unfolded."""

MOST_DIGITS = 1000
SHOWN_COLUMNS = 96
"""Most that an error shows of a line."""

_PYTHON_OR_C = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_PYTHON_OR_C):  # type: ignore[misc]
    """The core schema of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 - the name is PyYAML's


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+.0123456789"),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), [*_first.replace("\0", ""), *([""] if "\0" in _first else [])]
    )


class _Unusable(yaml.constructor.ConstructorError):
    """It is YAML, and no value that a document may have."""


def _number(loader: Any, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    if len(text) > MOST_DIGITS:
        raise _Unusable(None, None, f"a number of {len(text)} digits", node.start_mark)
    return int(text, 8) if text.startswith("0o") else int(text, 16) if text.startswith("0x") else int(text)


def _float(loader: Any, node: yaml.ScalarNode) -> float:
    text = loader.construct_scalar(node).lower()
    number = float(text.replace(".inf", "inf").replace(".nan", "nan"))
    if not math.isfinite(number):
        raise _Unusable(None, None, f"{_excerpt(text, 0)[0]} is not a finite number", node.start_mark)
    return number


_Loader.add_constructor("tag:yaml.org,2002:int", _number)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)


class Source:
    """Where a document came from."""

    def __init__(self, file: str, lines: list[str], node: yaml.Node) -> None:
        self.file = file
        self._lines = lines
        self._node = node

    def locate(self, pointer: str, *, key: bool) -> tuple[int, int, int]:
        """Line (from 1), column (from 0) and length of what `pointer` names, or of the nearest thing around it that is there.

        `key` wants the field's name, not its value.
        """
        node, at = self._node, self._node
        for part in pointer.split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            below = _child(node, part)
            if below is None:
                key = True
                break
            name, node = below
            at = name if key or not isinstance(node, yaml.ScalarNode) else node
        start, end = at.start_mark, at.end_mark
        length = end.column - start.column if end.line == start.line else len(self._line(start.line)) - start.column
        return start.line + 1, start.column, max(1, length)

    def _line(self, number: int) -> str:
        return self._lines[number] if number < len(self._lines) else ""

    def shown(self, problem: FieldProblem) -> str:
        """The problem in three lines: where and what, the line of the file, a mark under the place."""
        line, column, length = self.locate(problem.pointer, key=problem.code in ("unknown_field", "missing"))
        field = ".".join(part.replace("~1", "/").replace("~0", "~") for part in problem.pointer.split("/")[1:])
        where = f"{self.file}:{line}: {field + ': ' if field else ''}{problem.message}"
        return f"{_excerpt(where, 0, len(where))[0]}\n{_marked(line, self._line(line - 1), column, length)}"


class Document:
    """One document and, where it was read, its source."""

    def __init__(self, value: dict[str, Any], source: Source | None = None) -> None:
        self.value = value
        self.source = source


def read_documents(text: str, file: str) -> Iterator[Document]:
    """The documents of one file, which `---` separates. Empty ones are left out.

    Raises:
        InvalidDocument: the text is not YAML, or a document is not a mapping of fields.
    """
    lines = text.splitlines()
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is None or (isinstance(node, yaml.ScalarNode) and node.value in ("", "null", "~")):
                continue
            yield _document(loader, node, file, lines)
    except yaml.YAMLError as error:
        raise _invalid(file, lines, error) from error
    finally:
        loader.dispose()


def _document(loader: Any, node: yaml.Node, file: str, lines: list[str]) -> Document:
    source = Source(file, lines, node)
    if not isinstance(node, yaml.MappingNode):
        raise InvalidDocument(
            [FieldProblem("", f"{file}:{node.start_mark.line + 1}: a document is a mapping of fields, such as `run: echo hello`")]
        )
    _check(node, source)
    return Document(loader.construct_document(node), source)


def _check(root: yaml.Node, source: Source) -> None:
    """Refuse fields that stand twice and aliases that do not end."""
    sizes: dict[int, int] = {}
    entered: set[int] = set()

    def visit(node: yaml.Node, depth: int) -> int:
        if id(node) in sizes:
            return sizes[id(node)]
        if id(node) in entered or depth > 100:
            raise _at(source, node, "contains itself" if id(node) in entered else "is nested too deeply")
        entered.add(id(node))
        size = 1
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise _at(source, key, "a field's name must be a text")
                if key.value in seen:
                    raise _at(source, key, f"{key.value} stands here twice")
                seen.add(key.value)
                size += visit(value, depth + 1)
        elif isinstance(node, yaml.SequenceNode):
            size += sum(visit(value, depth + 1) for value in node.value)
        sizes[id(node)] = size
        if size > MOST_NODES:
            raise _at(source, node, "unfolds into more than a million values")
        return size

    visit(root, 0)


def _at(source: Source, node: yaml.Node, message: str) -> InvalidDocument:
    return _shown(source.file, source._lines, node.start_mark.line, node.start_mark.column, message)


def _invalid(file: str, lines: list[str], error: yaml.YAMLError) -> InvalidDocument:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
    if not isinstance(error, _Unusable):
        what = f"not YAML: {what}"
    if mark is None:
        return InvalidDocument([FieldProblem("", f"{file}: {what}", "not_yaml")])
    return _shown(file, lines, mark.line, mark.column, what)


def _shown(file: str, lines: list[str], line: int, column: int, message: str) -> InvalidDocument:
    where = f"{file}:{line + 1}: {message}"
    text = _marked(line + 1, lines[line] if line < len(lines) else "", column, 1)
    return InvalidDocument([FieldProblem("", f"{_excerpt(where, 0, len(where))[0]}\n{text}", "not_yaml")])


def _marked(number: int, line: str, column: int, length: int) -> str:
    """A line with its number, and a mark under the place."""
    text, column = _excerpt(line, column)
    return f"  {number} │ {text}\n{' ' * (column + len(str(number)) + 5)}{'‾' * max(1, min(length, len(text) - column))}"


def _excerpt(line: str, column: int, columns: int = SHOWN_COLUMNS) -> tuple[str, int]:
    """So much of a line around a place that it can be shown, without control characters, and where the place is in it."""
    start = max(0, min(column - columns // 2, len(line) - columns))
    text = line[start : start + columns].replace("\t", " ")
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    before, after = "…" if start else "", "…" if start + columns < len(line) else ""
    return before + text + after, column - start + len(before)


def _child(node: yaml.Node, part: str) -> tuple[yaml.Node, yaml.Node] | None:
    """The field's name and value."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == part:
                return key, value
    elif isinstance(node, yaml.SequenceNode) and part.isascii() and part.isdigit() and int(part) < len(node.value):
        return node.value[int(part)], node.value[int(part)]
    return None
