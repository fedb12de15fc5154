"""`impasto-api`: the app under uvicorn."""

from __future__ import annotations

import signal
import socket
import sys

import uvicorn
from fastapi import FastAPI

from impasto_api.app import create_app
from impasto_api.http_protocol import HttpProtocol, WebSocketProtocol
from impasto_api.services import Services
from impasto_core.settings import get_settings
from impasto_core.telemetry import configure_logging, telemetry


class Server(uvicorn.Server):
    """Takes no more connections once it is to stop, finishes what it was asked, and ends.

    Streams and waits would last as long as their jobs: they end at once, and their clients go on elsewhere.
    """

    def __init__(self, app: FastAPI, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        services: Services = self._app.state.services
        services.hub.close()
        await super().shutdown(sockets)


def main() -> None:
    # Uvicorn has a handler of its own while it serves, and sends itself the signal again when it has stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings = get_settings()
    configure_logging(settings)
    with telemetry(settings, "impasto-api"):
        app = create_app(settings)
        server = Server(
            app,
            uvicorn.Config(
                app,
                host=settings.api_host,
                port=settings.api_port,
                http=HttpProtocol,
                ws=WebSocketProtocol,
                ws_max_size=65_536,
                ws_per_message_deflate=False,  # it would keep some 300 kB for each connection
                proxy_headers=False,  # the app has its own list of trusted proxies
                log_config=None,  # ours takes its records too
                access_log=False,  # and so does our line a request
                timeout_graceful_shutdown=5,
            ),
        )
        server.run()
        if not server.started:
            sys.exit(1)


if __name__ == "__main__":
    main()
