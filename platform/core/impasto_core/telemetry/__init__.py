"""How the platform is watched: JSON logs, OpenTelemetry traces and metrics, and `/metrics` for Prometheus.

Anything may ask OpenTelemetry's API for a tracer or a meter. Until `telemetry` is entered, and where neither
an OTLP endpoint nor a metrics port is set, what it gets does nothing and costs next to nothing.
"""

from impasto_core.telemetry.logs import bind, configure_logging, log_context
from impasto_core.telemetry.providers import telemetry
from impasto_core.telemetry.spans import fail, span, traced
from impasto_core.telemetry.trace_context import context_of, current_traceparent

__all__ = [
    "bind",
    "configure_logging",
    "context_of",
    "current_traceparent",
    "fail",
    "log_context",
    "span",
    "telemetry",
    "traced",
]
