"""What is told of an attempt: a span and a duration for each stage, a span for each node of its graph."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context, metrics, trace
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.trace import Span, SpanKind

from impasto_core.ids import format_id
from impasto_core.jobs.tables import AttemptOutcome, Job
from impasto_core.telemetry import context_of, fail, log_context, span
from impasto_workers.runtime import Event, NodeCompleted, NodeError, NodeStarted, Step
from impasto_workers.services import GraphRuntime

tracer = trace.get_tracer(__name__)
meter = metrics.get_meter(__name__)

attempts = meter.create_counter("impasto.job.attempts", "{attempt}", "Attempts at jobs, by how they ended.")
waits = meter.create_histogram("impasto.job.wait", "s", "From when a job could be claimed until it was.")
stages = meter.create_histogram("impasto.job.stage.duration", "s", "What attempts spend their time on.")


@contextmanager
def attempt_span(job: Job, began: int) -> Iterator[None]:
    """The attempt, in the trace and the logs of its job, which was claimed just now.

    began: when claiming it did, in nanoseconds since 1970.
    """
    claimed = time.time_ns()
    job_id, organization_id = format_id("job", job.id), format_id("org", job.organization_id)
    attributes: dict[str, str | int] = {
        "impasto.job.id": job_id,
        "impasto.job.attempt": job.attempt,
        "impasto.organization.id": organization_id,
        "impasto.pipeline": job.pipeline or "graph",
        "impasto.pool": job.pool,
    }
    with (
        span(
            tracer,
            "attempt",
            parent=context_of(job.traceparent),
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            start_time=began,
        ),
        log_context(job_id=job_id, attempt=job.attempt, organization_id=organization_id),
    ):
        tracer.start_span("claim", start_time=began).end(claimed)
        stages.record((claimed - began) / 1e9, {"stage": "claim"})
        if job.started_at is not None:  # both by the database's clock
            waits.record(max(0.0, (job.started_at - job.available_at).total_seconds()), {"pool": job.pool})
        yield


@contextmanager
def stage(name: str) -> Iterator[Span]:
    """One of the few things that every attempt does, in this order."""
    started = time.perf_counter()
    try:
        with span(tracer, name) as current:
            yield current
    finally:
        stages.record(time.perf_counter() - started, {"stage": name})


def count_attempt(job: Job, outcome: AttemptOutcome, error: str = "") -> None:
    """`error` is the code of a failed one: there is a handful."""
    attempts.add(
        1, {"pool": job.pool, "pipeline": job.pipeline or "graph", "outcome": outcome.value, "error": error}
    )
    current = trace.get_current_span()
    current.set_attribute("impasto.outcome", outcome.value)
    if error:
        fail(current, error)


class NodeSpans:
    """Turns the runtime's events, of which it knows no more, into spans below the current one.

    Made on the event loop, told in the device's thread.
    """

    def __init__(self) -> None:
        self._parent = context.get_current()
        self._node: Span | None = None

    def tell(self, event: Event) -> None:
        match event:
            case NodeStarted():
                attributes = {"impasto.node.id": event.node, "impasto.node.type": event.type}
                self._node = tracer.start_span(f"node {event.type}", self._parent, attributes=attributes)
            case Step() if self._node is not None:
                self._node.add_event("step", {"impasto.step": event.step, "impasto.steps": event.total})
            case NodeCompleted():
                self.close()

    def close(self, error: NodeError | None = None) -> None:
        """End the span of the node that was running when the run ended, if there is one."""
        if self._node is not None:
            if error is not None:
                fail(self._node, error.type)
            self._node.end()
            self._node = None


def measure_runtime(runtime: GraphRuntime) -> None:
    """Let whoever collects metrics see what the runtime holds, at the moment of asking."""

    def loads(options: CallbackOptions) -> Iterator[Observation]:
        yield Observation(runtime.usage().model_loads)

    def used(options: CallbackOptions) -> Iterator[Observation]:
        if (usage := runtime.usage()).device_used_bytes is not None:
            yield Observation(usage.device_used_bytes)

    def total(options: CallbackOptions) -> Iterator[Observation]:
        if (usage := runtime.usage()).device_total_bytes is not None:
            yield Observation(usage.device_total_bytes)

    meter.create_observable_counter(
        "impasto.model.loads",
        [loads],
        "{model}",
        "Models, and parts of models, that were not in memory.",
    )
    meter.create_observable_gauge("impasto.gpu.memory.used", [used], "By", "Memory of the GPU in use.")
    meter.create_observable_gauge("impasto.gpu.memory.total", [total], "By", "Memory of the GPU.")
