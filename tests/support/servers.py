"""The API as users meet it: over HTTP, on a port of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from fastapi import FastAPI

from impasto_api.http_protocol import HttpProtocol, WebSocketProtocol


@asynccontextmanager
async def serve(app: FastAPI) -> AsyncIterator[str]:
    """Run the app under uvicorn in this event loop; yields its base URL."""
    # asyncio turns Nagle's algorithm off only where it sees that the protocol is TCP: 40 ms a request.
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, http=HttpProtocol, ws=WebSocketProtocol, log_level="warning", proxy_headers=False
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        await _stop(server)
        listener.close()


async def _stop(server: uvicorn.Server) -> None:
    """As uvicorn stops, less the 0.2 seconds that it sleeps, of which a test run would spend a minute."""
    for listening in server.servers:
        listening.close()
    for connection in list(server.server_state.connections):
        connection.shutdown()
    if tasks := set(server.server_state.tasks):
        _, hanging = await asyncio.wait(tasks, timeout=1)
        for task in hanging:
            task.cancel()
        await asyncio.wait(tasks)
    await server.lifespan.shutdown()


@asynccontextmanager
async def hanging_server() -> AsyncIterator[int]:
    """The port of a server that takes every connection and never says a word."""

    async def say_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for writer in held:
        writer.close()


@contextmanager
def closed_port() -> Iterator[int]:
    """A port on which nobody listens and nobody will: where a server would be that is away."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]
