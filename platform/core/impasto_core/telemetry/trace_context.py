"""The W3C trace context as it travels: in the caller's header, and in the job's row on to its worker."""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PROPAGATOR = TraceContextTextMapPropagator()
_HEADER = "traceparent"

TRACEPARENT_LENGTH = 55
"""Of version 00: `00-<trace id>-<span id>-<flags>`."""


def current_traceparent() -> str | None:
    """The current span's, or where this process does not trace, what its caller sent."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get(_HEADER)


def context_of(traceparent: str | None) -> Context:
    """A context whose spans belong to that trace; a new trace's where there is none or it makes no sense."""
    return _PROPAGATOR.extract({_HEADER: traceparent} if traceparent else {}, context=Context())
