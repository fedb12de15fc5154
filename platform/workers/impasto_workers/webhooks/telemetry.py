"""What is told of deliveries: a span an attempt, in the trace of its job, and how attempts ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import metrics, trace
from opentelemetry.trace import Span, SpanKind

from impasto_core.ids import format_id
from impasto_core.telemetry import context_of, log_context, span
from impasto_workers.webhooks.claims import Claimed

tracer = trace.get_tracer(__name__)
meter = metrics.get_meter(__name__)

attempts = meter.create_counter("impasto.webhook.attempts", "{attempt}", "Attempts, by how they ended.")
durations = meter.create_histogram("impasto.webhook.duration", "s", "From resolving a name to the answer.")
lags = meter.create_histogram("impasto.webhook.lag", "s", "From an event to the first attempt to tell it.")


@contextmanager
def attempt_span(claimed: Claimed) -> Iterator[Span]:
    """The attempt, in the trace and the logs of what it tells of."""
    delivery, event = claimed.delivery, claimed.event
    ids = {
        "organization_id": format_id("org", delivery.organization_id),
        "webhook_id": format_id("evt", event.id),
        "delivery_id": format_id("whd", delivery.id),
    }
    attributes: dict[str, str | int] = {
        "impasto.organization.id": ids["organization_id"],
        "impasto.webhook.id": ids["webhook_id"],
        "impasto.webhook.type": event.type,
        "impasto.webhook.attempt": claimed.number,
    }
    parent = context_of(event.traceparent)
    with (
        span(tracer, "webhook", parent=parent, kind=SpanKind.CLIENT, attributes=attributes) as current,
        log_context(**ids),
    ):
        yield current
