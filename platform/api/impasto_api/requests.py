"""What is told of every request, whatever becomes of it: its id, and a line in the log.

Spans and durations are FastAPI's own: see its argument `telemetry` in `app.py`.
"""

from __future__ import annotations

import logging
import time

from opentelemetry import context, trace
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from impasto_core.ids import format_id, new_id
from impasto_core.telemetry import bind, context_of

logger = logging.getLogger(__name__)

_PROBES = frozenset({"/livez", "/readyz"})


class RequestLog:
    """ASGI middleware, the outermost one.

    Gives the request its id, which is in its answer's X-Request-Id, in problem documents and in the logs.
    What is put into the request's context stays there: the task ends with the request, and Starlette reports
    an unexpected error outside of all middleware.
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
        span = trace.get_current_span()
        span.set_attribute("impasto.request.id", request_id)
        if not span.get_span_context().is_valid:  # we do not trace, but our caller may, and our workers
            context.attach(context_of(Headers(scope=scope).get("traceparent")))
        header = (b"x-request-id", request_id.encode())
        status = 500  # unless something is answered

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if header not in message["headers"]:
                    message["headers"] = [*message["headers"], header]
            await send(message)

        started = time.perf_counter()
        try:
            await self._app(scope, receive, send_with_id)
        finally:
            _log(scope, status, time.perf_counter() - started)


def _log(scope: Scope, status: int, seconds: float) -> None:
    """The path as declared: its ids are members of the record where they matter."""
    method, route = scope["method"], getattr(scope.get("route"), "path", "unknown")
    fields = {"method": method, "route": route, "status": status, "duration_ms": round(seconds * 1000, 1)}
    level = logging.DEBUG if route in _PROBES else logging.INFO
    logger.log(level, "%s %s %s", method, route, status, extra={"fields": fields})
