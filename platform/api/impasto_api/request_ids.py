"""Every request has an id: in its answer's X-Request-Id, in problem documents and in the logs."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from impasto_core.ids import format_id, new_id


class RequestIds:
    """ASGI middleware: gives the request its id and the response the header."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = format_id("req", new_id())
        scope.setdefault("state", {})["request_id"] = request_id
        header = (b"x-request-id", request_id.encode())

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start" and header not in message["headers"]:
                message["headers"] = [*message["headers"], header]
            await send(message)

        await self._app(scope, receive, send_with_id)
