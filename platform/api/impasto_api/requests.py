"""What is known of every request, whatever becomes of it: its id, its log line, its span and its duration."""

from __future__ import annotations

import logging
import time

from opentelemetry import context, metrics, trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from impasto_core.ids import format_id, new_id
from impasto_core.telemetry import bind, context_of

logger = logging.getLogger(__name__)
tracer = trace.get_tracer(__name__)
durations = metrics.get_meter(__name__).create_histogram(
    "http.server.request.duration", "s", "Time to answer a request, streams and waits to their end."
)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PROBES = frozenset({"/livez", "/readyz"})


class RequestTelemetry:
    """ASGI middleware, the outermost one.

    Gives the request its id, which is in its answer's X-Request-Id, in problem documents and in the logs, and
    continues its caller's trace. What is set in the request's context stays set: the task ends with the
    request, and Starlette reports an unexpected error outside of all middleware.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = format_id("req", new_id())
        scope.setdefault("state", {})["request_id"] = request_id
        bind(request_id=request_id)
        header = (b"x-request-id", request_id.encode())
        status = 500  # unless something was answered

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if header not in message["headers"]:
                    message["headers"] = [*message["headers"], header]
            await send(message)

        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        started = time.perf_counter()
        span = tracer.start_span(
            method,
            context_of(Headers(scope=scope).get("traceparent")),
            SpanKind.SERVER,
            {"http.request.method": method, "url.path": scope["path"], "impasto.request.id": request_id},
        )
        context.attach(trace.set_span_in_context(span))
        try:
            await self._app(scope, receive, send_with_id)
        finally:
            _report(span, method, _route(scope), status, time.perf_counter() - started)


def _route(scope: Scope) -> str:
    """The path as declared, without anybody's ids in it: there are only so many."""
    path: str = getattr(scope.get("route"), "path", "unknown")
    return path


def _report(span: trace.Span, method: str, route: str, status: int, seconds: float) -> None:
    attributes: dict[str, str | int] = {
        "http.request.method": method,
        "http.route": route,
        "http.response.status_code": status,
    }
    durations.record(seconds, attributes)
    if span.is_recording():
        span.update_name(f"{method} {route}")
        span.set_attributes(attributes)
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))
    span.end()
    fields = attributes | {"duration_ms": round(seconds * 1000, 1)}
    level = logging.DEBUG if route in _PROBES else logging.INFO
    logger.log(level, "%s %s %s", method, route, status, extra={"fields": fields})
