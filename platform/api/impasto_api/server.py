"""`impasto-api`: the app under uvicorn."""

from __future__ import annotations

import logging

import uvicorn

from impasto_api.app import create_app
from impasto_core.settings import get_settings


def main() -> None:
    settings = get_settings()
    logging.basicConfig(level=settings.log_level.upper())
    uvicorn.run(
        create_app(settings),
        host=settings.api_host,
        port=settings.api_port,
        log_level=settings.log_level,
        access_log=settings.log_level == "debug",
        # Streams stay open as long as their jobs run: a stopping server does not wait for them.
        timeout_graceful_shutdown=5,
    )


if __name__ == "__main__":
    main()
