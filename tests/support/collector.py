"""An OpenTelemetry collector: takes OTLP over HTTP as the specification has it, and remembers it decoded."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Span:
    """Ids in hexadecimal. `parent` is empty for a root."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any] = field(repr=False)
    events: list[tuple[str, dict[str, Any]]] = field(repr=False)
    failed: bool


class Collector:
    def __init__(self) -> None:
        self.url = ""
        self._lock = Lock()
        self._bodies: list[bytes] = []
        self._spans: list[Span] = []
        self._metrics: set[str] = set()

    def spans(self, trace: str) -> list[Span]:
        """Those of one trace, as far as they have come."""
        with self._lock:
            return [span for span in self._spans if span.trace == trace]

    def services(self) -> set[str]:
        """Those that have sent spans."""
        with self._lock:
            return {span.service for span in self._spans}

    def metrics(self) -> set[str]:
        """The names of all metrics."""
        with self._lock:
            return set(self._metrics)

    def said(self) -> bytes:
        """Every byte of every message."""
        with self._lock:
            return b"\n".join(self._bodies)

    @contextmanager
    def running(self) -> Iterator[Collector]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def take(self, path: str, body: bytes) -> bytes:
        with self._lock:
            self._bodies.append(body)
            if path == "/v1/traces":
                self._take_spans(ExportTraceServiceRequest.FromString(body))
                return bytes(ExportTraceServiceResponse().SerializeToString())
            assert path == "/v1/metrics", path
            self._take_metrics(ExportMetricsServiceRequest.FromString(body))
            return bytes(ExportMetricsServiceResponse().SerializeToString())

    def _take_spans(self, request: Any) -> None:
        for resource in request.resource_spans:
            service = _values(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self._spans.append(
                        Span(
                            service=service,
                            name=span.name,
                            trace=span.trace_id.hex(),
                            id=span.span_id.hex(),
                            parent=span.parent_span_id.hex(),
                            attributes=_values(span.attributes),
                            events=[(event.name, _values(event.attributes)) for event in span.events],
                            failed=span.status.code == span.status.STATUS_CODE_ERROR,
                        )
                    )

    def _take_metrics(self, request: Any) -> None:
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                self._metrics |= {metric.name for metric in scope.metrics}


def _values(attributes: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in attributes}


def _handler(collector: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # as the library names it
            assert self.headers["content-type"] == "application/x-protobuf"
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            answer = collector.take(self.path, body)
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Be quiet."""

    return Handler
