"""HTTP and WebSocket as uvicorn speaks them, for an app that may cut a connection."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

ABORT = "impasto.abort"
"""ASGI extension: its `abort` cuts the request's connection. What was not sent yet is thrown away.

A close would wait for a reader who does not read.
"""

READ_SECONDS = 15.0
"""How long the client of a WebSocket may leave what is written for it in the connection's buffer."""


class HttpProtocol(HttpToolsProtocol):
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"abort": self.transport.abort}}


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Cuts off who does not read. Nobody else would: who sends waits for room, and so does every close."""

    _cut: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._cut = self.loop.call_later(READ_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._let_be()

    def connection_lost(self, exc: Exception | None) -> None:
        self._let_be()
        super().connection_lost(exc)

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        else:  # pongs to whoever reads none would fill the buffer without end
            self.conn.data_to_send()

    def _let_be(self) -> None:
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None
