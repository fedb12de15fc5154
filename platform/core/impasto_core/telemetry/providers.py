"""OpenTelemetry's providers, made once per process, and only those that somebody listens to."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from threading import Thread
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics, trace

from impasto_core.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.resources import Resource

logger = logging.getLogger(__name__)

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
"""Seconds: from a cached answer to the longest job. OpenTelemetry's own are for milliseconds."""

FLUSH_SECONDS = 3
"""What a stopping process grants a collector that does not answer."""


@contextmanager
def telemetry(settings: Settings, service: str) -> Iterator[None]:
    """Trace and measure while the block runs. To be entered once in a process, by its main function.

    Traces and metrics go to the endpoint of OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_ENDPOINT`,
    `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_TRACES_SAMPLER`, ...), metrics also to `settings.metrics_port`. Where
    none is set, no provider is made and no thread started.

    service: `service.name` of everything that is told.
    """
    traced, measured = _exported("TRACES"), _exported("METRICS")
    served = settings.metrics_port is not None
    with ExitStack() as undo:
        if traced:
            undo.callback(_trace(_resource(service)))
        if measured or served:
            undo.callback(_measure(_resource(service), exported=measured, served=served))
        if settings.metrics_port is not None:
            undo.callback(_serve(settings.metrics_host, settings.metrics_port))
        yield


def _exported(signal: str) -> bool:
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    return any(os.environ.get(name) for name in names)


def _resource(service: str) -> Resource:
    from opentelemetry.sdk.resources import Resource

    return Resource.create(
        {
            "service.name": service,
            "service.namespace": "impasto",
            "service.version": version("impasto-core"),
            "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
        }
    )


def _trace(resource: Resource) -> Callable[[], None]:
    """Returns what ends it."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return lambda: _in_time(provider.shutdown)


def _measure(resource: Resource, *, exported: bool, served: bool) -> Callable[[], None]:
    """Returns what ends it."""
    from opentelemetry.sdk.metrics import Histogram, MeterProvider
    from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View

    readers: list[MetricReader] = []
    if exported:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
    if served:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader

        readers.append(PrometheusMetricReader())
    in_seconds = View(
        instrument_type=Histogram,
        instrument_unit="s",
        aggregation=ExplicitBucketHistogramAggregation(BUCKETS),
    )
    provider = MeterProvider(readers, resource=resource, views=[in_seconds], shutdown_on_exit=False)
    metrics.set_meter_provider(provider)
    return lambda: _in_time(provider.shutdown)


def _serve(host: str, port: int) -> Callable[[], None]:
    """`/metrics` in a thread of its own, so that a busy event loop is still seen. Returns what ends it.

    Raises OSError where the port is taken.
    """
    from prometheus_client import start_http_server

    server, thread = start_http_server(port, host)
    logger.info("metrics at http://%s:%s/metrics", host, server.server_port)

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return close


def _in_time(shutdown: Callable[[], Any]) -> None:
    """A collector that is away must not keep a process from stopping."""
    thread = Thread(target=shutdown, name="telemetry-shutdown", daemon=True)
    thread.start()
    thread.join(FLUSH_SECONDS)
