"""Which dated version of the API a request speaks: its `Impasto-Version` header's, or else its key's."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from impasto_api.problems import API_VERSION_HEADER, UnknownApiVersion, respond
from impasto_core.api_versions import LATEST, VERSIONS


class ApiVersions:
    """ASGI middleware: refuses versions that do not exist, and names the one that holds in every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        wanted = request.headers.get(API_VERSION_HEADER, LATEST)
        request.state.api_version = wanted if wanted in VERSIONS else LATEST
        if wanted not in VERSIONS:
            await respond(request, UnknownApiVersion(list(VERSIONS)))(scope, receive, send)
            return

        async def send_with_version(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[API_VERSION_HEADER] = request.state.api_version
            await send(message)

        await self._app(scope, receive, send_with_version)


def pin(request: Request, version: str) -> None:
    """The request's key is pinned to this version, which holds unless the request names another."""
    if API_VERSION_HEADER not in request.headers:
        request.state.api_version = version
