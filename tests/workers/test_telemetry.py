"""InvokeAI's own nodes as spans, made of the runtime's events outside of it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from impasto_workers.telemetry import NodeSpans, tracer
from tests.support.collector import Collector
from tests.workers.test_runtime import image_to_image, text_to_image

if TYPE_CHECKING:
    from impasto_workers.runtime.runtime import Runtime


@pytest.fixture(scope="session")
def exporter() -> InMemorySpanExporter:
    """A process can have its spans exported once."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    exporter.clear()
    return exporter


def test_every_node_is_a_span_in_order_and_every_step_an_event(
    runtime: Runtime, spans: InMemorySpanExporter
) -> None:
    with tracer.start_as_current_span("graph") as graph:
        nodes = NodeSpans()
        runtime.run(text_to_image(steps=3), on_event=nodes.tell)
        nodes.close()
    *of_nodes, parent = spans.get_finished_spans()
    assert parent.name == "graph"
    assert [span.name for span in of_nodes][-3:] == ["node noise", "node denoise_latents", "node l2i"]
    assert len({span.attributes and span.attributes["impasto.node.id"] for span in of_nodes}) == len(of_nodes)
    for span in of_nodes:
        assert span.parent is not None
        assert span.parent.span_id == graph.get_span_context().span_id
        steps = [event.attributes for event in span.events]
        expected = [{"impasto.step": step, "impasto.steps": 3} for step in (1, 2, 3)]
        assert steps == (expected if span.name == "node denoise_latents" else [])


def test_a_failing_nodes_span_says_what_kind_of_error_and_not_its_text(
    runtime: Runtime, spans: InMemorySpanExporter
) -> None:
    name = "nobody-elses-business.png"
    nodes = NodeSpans()
    result = runtime.run(image_to_image(name), on_event=nodes.tell)
    nodes.close(result.error)
    assert result.error is not None
    assert name in result.error.message
    assert name not in result.error.traceback
    failed = spans.get_finished_spans()[-1]
    assert failed.name == "node i2l"
    assert not failed.status.is_ok
    assert failed.attributes is not None
    assert failed.attributes["error.type"] == result.error.type
    assert name not in failed.to_json()


def test_a_model_is_loaded_once(runtime: Runtime) -> None:
    runtime.run(text_to_image())
    loaded = runtime.usage().model_loads
    assert loaded > 0
    runtime.run(text_to_image())
    assert runtime.usage().model_loads == loaded


def test_without_a_gpu_there_is_no_memory_of_it(runtime: Runtime) -> None:
    usage = runtime.usage()
    assert (usage.device_used_bytes, usage.device_total_bytes) == (None, None)


def test_the_versions_that_fit_invokeai_send_traces_and_metrics() -> None:
    with Collector().running() as collector:
        environ = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "IMPASTO_METRICS_PORT": "0"}
        subprocess.run([sys.executable, "-m", "tests.support.watched"], env=environ, check=True)
        assert collector.metrics() == {"watched.work"}
        assert b"work" in collector.said()
        assert collector.services() == {"watched"}
