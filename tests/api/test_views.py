"""What the client's types say of answers is what the API gives."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from typing_extensions import get_type_hints, is_typeddict

import bushel.api.routes
from bushel.spec import platform_views

ROUTES = [import_module(f"bushel.api.routes.{file.stem}") for file in Path(*bushel.api.routes.__path__).glob("[a-z]*.py")]


def pairs() -> Iterator[tuple[str, Any, type[BaseModel]]]:
    for module in ROUTES:
        for name, model in vars(module).items():
            view = getattr(platform_views, name, None)
            if is_typeddict(view) and isinstance(model, type) and issubclass(model, BaseModel) and model.__module__ == module.__name__:
                yield name, view, model


def sent(kind: Any) -> str:
    """A type as it travels: times are texts, tuples are lists, enumerations their values."""
    if kind is datetime:
        return "str"
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return " | ".join(sorted(repr(member.value) for member in kind))
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return sent(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " | ".join(sorted(map(sent, arguments)))
    if origin is typing.Literal:
        return " | ".join(sorted(map(repr, arguments)))
    if origin is tuple:
        return f"list[{sent(arguments[0])}]"
    if origin is not None:
        return f"{origin.__name__}[{', '.join(map(sent, arguments))}]"
    return getattr(kind, "__name__", str(kind))


def test_there_are_such_views() -> None:
    assert {"QueueView", "ClusterView", "NodeView", "AuditView"} <= {name for name, _, _ in pairs()}


@pytest.mark.parametrize(("view", "model"), [pytest.param(view, model, id=name) for name, view, model in pairs()])
def test_the_type_of_an_answer_is_that_of_the_route(view: Any, model: type[BaseModel]) -> None:
    told = {name: sent(kind) for name, kind in get_type_hints(view).items()}
    given = {name: sent(kind) for name, kind in get_type_hints(model, include_extras=True).items() if name in model.model_fields}
    assert told == given
