"""HTTP as uvicorn speaks it, for an app that may cut a connection."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

ABORT = "impasto.abort"
"""ASGI extension: its `abort` cuts the request's connection. What was not sent yet is thrown away.

A close would wait for a reader who does not read.
"""


class HttpProtocol(HttpToolsProtocol):
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"abort": self.transport.abort}}
