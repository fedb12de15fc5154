"""A TCP proxy in front of a server, on a port that stays, which can cut, refuse and hang."""

from __future__ import annotations

import asyncio
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from contextlib import suppress

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of no time at all: closing sends RST, as a crash does."""


class Proxy:
    """`upstream` tells the port of the server, which may have changed when it was started again.

    Lives on one event loop; only `port` is for others too.
    """

    def __init__(self, upstream: Callable[[], int]) -> None:
        self._upstream = upstream
        # Bound and never listening: the port is ours even while nobody may connect to it.
        self._reservation = _bound(0)
        self.port: int = self._reservation.getsockname()[1]
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusals = 0
        self._hangs = 0

    async def open(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, sock=_bound(self.port), backlog=200)

    async def close(self) -> None:
        await self._stop_listening()
        self._flowing.set()
        await self.cut()
        self._reservation.close()

    async def cut(self) -> None:
        """Reset every connection there is. New ones can be made."""
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def refuse(self, seconds: float) -> None:
        """No connection can be made for a while, and those that there were are reset."""
        self._refusals += 1
        await self._stop_listening()
        await self.cut()
        await asyncio.sleep(seconds)
        self._refusals -= 1
        if not self._refusals:
            await self.open()

    async def hang(self, seconds: float) -> None:
        """Connections are made for a while, and nothing is said on any."""
        self._hangs += 1
        self._flowing.clear()
        await asyncio.sleep(seconds)
        self._hangs -= 1
        if not self._hangs:
            self._flowing.set()

    async def _stop_listening(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        ends = [writer]
        # Cancelled by `cut`: no error of anybody's. The server may be away or go away: neither is that.
        with suppress(asyncio.CancelledError, OSError, ExceptionGroup):
            try:
                there, here = await asyncio.open_connection("127.0.0.1", self._upstream())
                ends.append(here)
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pump(reader, here))
                    both.create_task(self._pump(there, writer))
            finally:
                self._connections.discard(task)
                for end in ends:
                    _reset(end)

    async def _pump(self, source: StreamReader, sink: StreamWriter) -> None:
        while data := await source.read(1 << 16):
            await self._flowing.wait()
            sink.write(data)
            await sink.drain()
        await self._flowing.wait()
        sink.write_eof()


def _bound(port: int) -> socket.socket:
    # The protocol is named since asyncio turns Nagle's algorithm off only where it sees it.
    bound = socket.socket(proto=socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def _reset(writer: StreamWriter) -> None:
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
