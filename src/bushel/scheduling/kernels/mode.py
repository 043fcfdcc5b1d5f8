"""Marks a function as a kernel, makes its compiled twin, and says which of the two serves.

Guarantees: nothing is compiled, and the compiler is not even imported, until `compile_all` is called; until it has finished the
plain functions serve. What was compiled is kept on disk beside the source, under a name that changes with any kernel's
source, so a stale twin never serves.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any, TypeVar, cast

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

_kernels: list[FunctionType] = []
_inner: set[FunctionType] = set()
_lean: set[FunctionType] = set()
_twins: dict[Callable[..., Any], Callable[..., Any]] = {}
_serving = False
_within = threading.local()
"""What `using` says, by thread: so that no plan waits for what another thread is still loading."""


def kernel(function: AnyFunction) -> AnyFunction:
    """A function over arrays and numbers, in the part of Python that can be compiled. It may call other kernels by name."""
    _kernels.append(cast(FunctionType, function))
    return function


def lean_kernel(function: AnyFunction) -> AnyFunction:
    """A kernel that makes no array and returns none: its twin does not count references, which costs more than a small step itself."""
    _lean.add(cast(FunctionType, function))
    return kernel(function)


def inner_kernel(function: AnyFunction) -> AnyFunction:
    """A lean kernel that its callers contain once compiled: for innermost loops, where handing over arrays costs more than the work."""
    _inner.add(cast(FunctionType, function))
    return lean_kernel(function)


def twin(function: AnyFunction) -> AnyFunction:
    """What to call for `function`: its compiled twin if that serves, else itself."""
    return cast(AnyFunction, _twins[function]) if serving() else function


def serving() -> bool:
    """Whether the compiled twins serve, here."""
    within: bool | None = getattr(_within, "compiled", None)
    return _serving if within is None else within


@contextmanager
def using(*, compiled: bool) -> Iterator[None]:
    """For tests and warming up: which of the two serves within the block, in this thread alone. Compiles if it must."""
    before = getattr(_within, "compiled", None)
    if compiled:
        _make_twins()
    _within.compiled = compiled
    try:
        yield
    finally:
        _within.compiled = before


def serve_compiled() -> None:
    """From now on the compiled twins serve; those that no call has compiled yet are loaded or compiled at their first call."""
    global _serving
    _make_twins()
    _serving = True


def compiled_forms() -> int:
    """How many there are by now: one of each kernel that was called, for the types that it was called with."""
    return sum(len(cast(Any, one).signatures) for one in _twins.values())


def _make_twins() -> None:
    if len(_twins) == len(_kernels):
        return
    import numba

    digest = _digest()
    scopes: dict[str, dict[str, Any]] = {}
    for plain in _kernels:
        scope = scopes.setdefault(plain.__module__, dict(sys.modules[plain.__module__].__dict__))
        copy = FunctionType(plain.__code__, scope, plain.__name__, plain.__defaults__)
        copy.__qualname__ = f"{plain.__qualname__}_{digest}"
        copy.__module__ = plain.__module__
        options: dict[str, Any] = {"forceinline": plain in _inner, "_nrt": plain not in _lean}
        _twins[plain] = numba.njit(cache=True, nogil=True, error_model="numpy", **options)(copy)
    for scope in scopes.values():
        for name, value in scope.items():
            if isinstance(value, FunctionType) and value in _twins:
                scope[name] = _twins[value]


def _digest() -> str:
    """Of all kernels: a compiled kernel contains those that it calls."""
    sources = sorted({__file__, *(plain.__code__.co_filename for plain in _kernels)})
    whole = hashlib.sha256()
    for source in sources:
        with open(source, "rb") as file:
            whole.update(file.read())
    return whole.hexdigest()[:12]
