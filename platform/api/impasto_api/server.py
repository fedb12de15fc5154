"""`impasto-api`: the app under uvicorn."""

from __future__ import annotations

import uvicorn

from impasto_api.app import create_app
from impasto_core.settings import get_settings
from impasto_core.telemetry import configure_logging, telemetry


def main() -> None:
    settings = get_settings()
    configure_logging(settings)
    with telemetry(settings, "impasto-api"):
        uvicorn.run(
            create_app(settings),
            host=settings.api_host,
            port=settings.api_port,
            proxy_headers=False,  # the app has its own list of trusted proxies
            log_config=None,  # ours takes its records too
            access_log=False,  # and so does our line a request
            # Streams stay open as long as their jobs run: a stopping server does not wait for them.
            timeout_graceful_shutdown=5,
        )


if __name__ == "__main__":
    main()
