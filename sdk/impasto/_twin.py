"""Every method is written once, as a coroutine, and offered in two colours.

The trick: a coroutine whose every `await` completes at once needs no event loop. `BlockingIO` (in `_io`) has
the same coroutine methods as `AsyncIO`, but they block instead of suspending, so the synchronous client
drives the very same code to its end with a single `send(None)`.

The types follow by a descriptor. A resource or a result is generic in its colour, `Jobs[Sync]` or
`Jobs[Async]`, and `Twin.__get__` is overloaded on it: what is `(job_id: str) -> Job` on one client is
`(job_id: str) -> Coroutine[Job]` on the other, parameters and all, without a second definition.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, overload

# typing_extensions comes with pydantic; `typing.TypeVar` takes a default only from Python 3.13 on.
from typing_extensions import TypeVar

if TYPE_CHECKING:
    from ._core import Core
    from ._request import Request


class Sync:
    """The colour of everything that hangs off `Impasto`."""


class Async:
    """The colour of everything that hangs off `AsyncImpasto`."""


Colour = TypeVar("Colour", default=Sync)  # so that a bare `Job` in an annotation means the synchronous one
P = ParamSpec("P")
T = TypeVar("T")
X = TypeVar("X")
SyncT = TypeVar("SyncT")
AsyncT = TypeVar("AsyncT")


class Coloured(Generic[Colour]):
    """Something that reaches the API through its `_core`, and therefore blocks or is awaited."""


class Twin(Generic[P, SyncT, AsyncT]):
    """A method of a `Coloured` class: `build` says what is to be done, the owner's colour how it is done."""

    def __init__(
        self,
        build: Callable[..., X],
        *,
        sync: Callable[[Core, X], SyncT],
        asynchronous: Callable[[Core, X], AsyncT],
    ) -> None:
        self.build = build
        self.__doc__ = build.__doc__
        self._sync = sync
        self._asynchronous = asynchronous

    @overload
    def __get__(self, owner: None, cls: type) -> Self: ...
    @overload
    def __get__(self, owner: Coloured[Sync], cls: type) -> Callable[P, SyncT]: ...
    @overload
    def __get__(self, owner: Coloured[Async], cls: type) -> Callable[P, AsyncT]: ...
    def __get__(self, owner: Any, cls: type) -> Any:
        if owner is None:
            return self

        core: Core = owner._core
        build: Callable[..., Any] = MethodType(self.build, owner)
        finish = self._sync if core.io.blocking else self._asynchronous

        @wraps(build)  # so that help() shows the parameters
        def call(*args: Any, **kwargs: Any) -> Any:
            return finish(core, build(*args, **kwargs))

        return call


class TwinProperty(Generic[T]):
    """A property that takes IO: the value itself on the synchronous client, awaited on the other."""

    def __init__(self, compute: Callable[[Any], Coroutine[Any, Any, T]]) -> None:
        self.compute = compute
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, owner: None, cls: type) -> Self: ...
    @overload
    def __get__(self, owner: Coloured[Sync], cls: type) -> T: ...
    @overload
    def __get__(self, owner: Coloured[Async], cls: type) -> Coroutine[Any, Any, T]: ...
    def __get__(self, owner: Any, cls: type) -> Any:
        if owner is None:
            return self
        blocking = owner._core.io.blocking
        return run(self.compute(owner)) if blocking else self.compute(owner)


def endpoint(build: Callable[Concatenate[Any, P], Request[T]]) -> Twin[P, T, Coroutine[Any, Any, T]]:
    """A method that is one request: the decorated function only describes it, and does no IO."""
    return Twin(
        build,
        sync=lambda core, request: run(core.request(request)),
        asynchronous=lambda core, request: core.request(request),
    )


def method(
    build: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]],
) -> Twin[P, T, Coroutine[Any, Any, T]]:
    """A method that takes several requests: the decorated function is a coroutine over the core."""
    return Twin(build, sync=lambda _, coroutine: run(coroutine), asynchronous=lambda _, coroutine: coroutine)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Drive a coroutine that never suspends, because its IO blocks, to its end."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise TypeError("something asynchronous was awaited in the synchronous client (an async callback?)")
