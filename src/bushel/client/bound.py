"""Make methods of the clients out of operations: one definition, a blocking and an awaitable method.

A class that uses these has an attribute `_caller`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

if TYPE_CHECKING:
    from bushel.client.operation import Operation
    from bushel.spec.views import Page

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Item = TypeVar("Item")


class Call(Generic[Parameters, Result]):
    """A method that asks once."""

    def __init__(self, define: Callable[Parameters, Operation[Result]]) -> None:
        self._define = define
        self.__doc__ = define.__doc__

    def __get__(self, instance: Any, owner: type) -> Callable[Parameters, Result]:
        define = self._define

        def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            return instance._caller.call(define(*args, **kwargs))

        return _named(call, define)


class Every(Generic[Parameters, Item]):
    """A method that gives every item of a list, asking for a page when it is needed. It takes what the operation takes."""

    def __init__(self, define: Callable[Parameters, Operation[Page[Item]]]) -> None:
        self._define = define
        self.__doc__ = define.__doc__

    def __get__(self, instance: Any, owner: type) -> Callable[Parameters, Iterator[Item]]:
        define: Callable[..., Operation[Any]] = self._define

        def every(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Iterator[Item]:
            return instance._caller.pages(lambda page: define(*args, **{**kwargs, "page": page}))

        return _named(every, self._define)


class AsyncCall(Generic[Parameters, Result]):
    """The awaitable twin of `Call`."""

    def __init__(self, define: Callable[Parameters, Operation[Result]]) -> None:
        self._define = define
        self.__doc__ = define.__doc__

    def __get__(self, instance: Any, owner: type) -> Callable[Parameters, Coroutine[Any, Any, Result]]:
        define = self._define

        def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Coroutine[Any, Any, Result]:
            return instance._caller.call(define(*args, **kwargs))

        return _named(call, define)


class AsyncEvery(Generic[Parameters, Item]):
    """The twin of `Every`, for `async for`."""

    def __init__(self, define: Callable[Parameters, Operation[Page[Item]]]) -> None:
        self._define = define
        self.__doc__ = define.__doc__

    def __get__(self, instance: Any, owner: type) -> Callable[Parameters, AsyncIterator[Item]]:
        define: Callable[..., Operation[Any]] = self._define

        def every(*args: Parameters.args, **kwargs: Parameters.kwargs) -> AsyncIterator[Item]:
            return instance._caller.pages(lambda page: define(*args, **{**kwargs, "page": page}))

        return _named(every, self._define)


Method = TypeVar("Method", bound=Callable[..., Any])


def _named(method: Method, define: Callable[..., Any]) -> Method:
    method.__name__ = define.__name__
    method.__doc__ = define.__doc__
    return method
