"""`impasto-webhooks`: sends webhooks. Any number may run. Imports no torch."""

from __future__ import annotations

import asyncio
import logging
import signal

from impasto_core.database import Database
from impasto_core.settings import Settings, get_settings
from impasto_core.telemetry import configure_logging, telemetry
from impasto_core.webhooks.guard import Guard
from impasto_core.webhooks.secrets import SecretBox
from impasto_workers.webhooks.dispatcher import Dispatcher
from impasto_workers.webhooks.sender import Sender

logger = logging.getLogger(__name__)

GRACE_SECONDS = 5.0
"""After SIGTERM, time for what is on its way. What is cut short is sent again, with the same `webhook-id`."""


async def run(settings: Settings) -> None:
    """Dispatch until SIGTERM or SIGINT."""
    database = Database(settings.database_url.get_secret_value(), pool_size=settings.database_pool_size)
    dispatcher = Dispatcher(database, Sender(Guard.of(settings)), SecretBox.of(settings))
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    dispatching = asyncio.create_task(dispatcher.run())
    stopping = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait({dispatching, stopping}, return_when=asyncio.FIRST_COMPLETED)
        dispatcher.close()
        await asyncio.wait({dispatching}, timeout=GRACE_SECONDS)
        if dispatching.done():
            dispatching.result()
    finally:
        for task in (dispatching, stopping):
            task.cancel()
        await asyncio.gather(dispatching, stopping, return_exceptions=True)
        await database.close()


def main() -> None:
    settings = get_settings()
    configure_logging(settings)
    with telemetry(settings, "impasto-webhooks"):
        asyncio.run(run(settings))


if __name__ == "__main__":
    main()
