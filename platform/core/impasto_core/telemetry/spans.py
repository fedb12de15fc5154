"""Spans that name an error's type and not its text, which may hold what a customer wrote."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

P = ParamSpec("P")
T = TypeVar("T")

Attributes = Mapping[str, str | int | float | bool]


@contextmanager
def span(
    tracer: Tracer,
    name: str,
    *,
    parent: Context | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Attributes | None = None,
    start_time: int | None = None,
) -> Iterator[Span]:
    """The current span while the block runs. `start_time` is in nanoseconds since 1970, by default now."""
    with tracer.start_as_current_span(
        name,
        parent,
        kind,
        attributes,
        start_time=start_time,
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except Exception as error:
            fail(current, type(error).__name__)
            raise


def fail(failed: Span, error_type: str) -> None:
    failed.set_attribute("error.type", error_type)
    failed.set_status(Status(StatusCode.ERROR))


def traced(
    tracer: Tracer, name: str, *, kind: SpanKind = SpanKind.INTERNAL
) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T]]]:
    """Makes every call of a coroutine function a span."""

    def decorate(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        @wraps(function)
        async def call(*args: P.args, **kwargs: P.kwargs) -> T:
            with span(tracer, name, kind=kind):
                return await function(*args, **kwargs)

        return call

    return decorate
