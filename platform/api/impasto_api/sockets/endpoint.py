"""Where Socket.IO is mounted. Its server is made for the first who connects.

python-socketio takes 12 MB and a tenth of a second to import, and many a process never speaks it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Self

from starlette.types import Receive, Scope, Send

from impasto_api.problems import BadRequest
from impasto_api.services import Services

if TYPE_CHECKING:
    from impasto_api.sockets.server import Sockets

PATH = "/socket.io"


class SocketsEndpoint:
    """An ASGI app at PATH. Use within `running()`."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._running = AsyncExitStack()
        self._making = asyncio.Lock()
        self._sockets: Sockets | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        async with self._running:
            yield self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises BadRequest for what is no WebSocket."""
        if scope["type"] != "websocket":
            raise BadRequest("Socket.IO is spoken over WebSocket here: set transports to ['websocket'].")
        sockets = await self.server()
        await sockets(scope, receive, send)

    async def server(self) -> Sockets:
        async with self._making:
            if self._sockets is None:
                sockets = await asyncio.to_thread(_make, self._services)
                await self._running.enter_async_context(sockets.running())
                self._sockets = sockets
            return self._sockets


def _make(services: Services) -> Sockets:
    from impasto_api.sockets.server import Sockets

    return Sockets(services)


async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
    """What the app has at PATH."""
    sockets: SocketsEndpoint = scope["app"].state.sockets
    await sockets(scope, receive, send)
