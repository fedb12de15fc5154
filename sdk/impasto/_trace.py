"""The caller's trace goes on in the API, where the caller traces with OpenTelemetry."""

from __future__ import annotations

import sys


def trace_headers() -> dict[str, str]:
    """The W3C `traceparent` of the current span, if there is one.

    Who has a span has imported OpenTelemetry: we need not, and so do not depend on it.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return {}
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return {}
    return {"traceparent": f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"}
