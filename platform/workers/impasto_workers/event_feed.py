"""Takes an attempt's events at the speed of the device and writes them to Redis at the speed of Redis."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress

from redis.exceptions import RedisError

from impasto_core.jobs.events import EventWriter, Fenced, Step, StreamEvent

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 2.0

GATHER_SECONDS = 0.02
"""Events that come within it are written together. Each write keeps the device's thread from Python's lock,
and a small graph has two dozen events in a tenth of a second.
"""

_MANY = 50


class EventFeed:
    """Events are a courtesy: where Redis is slow or away, they are dropped and the job goes on."""

    def __init__(self, writer: EventWriter) -> None:
        self._writer = writer
        self._waiting: deque[StreamEvent] = deque()
        self._news = asyncio.Event()
        self._closing = asyncio.Event()
        self._being_written = 0
        self._dropped = 0
        self._task = asyncio.create_task(self._write_all())

    def put(self, event: StreamEvent) -> None:
        if len(self._waiting) >= _MANY and _is_outdated(self._waiting[-1], by=event):
            self._waiting.pop()
        self._waiting.append(event)
        self._news.set()

    async def close(self) -> None:
        """Returns when all is written, and at the latest after CLOSE_SECONDS."""
        self._closing.set()
        self._news.set()
        await asyncio.wait({self._task}, timeout=CLOSE_SECONDS)
        self._task.cancel()
        if dropped := self._dropped + self._being_written + len(self._waiting):
            logger.warning("%s events were not written", dropped)

    async def _write_all(self) -> None:
        while self._waiting or not self._closing.is_set():
            await self._news.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(GATHER_SECONDS):
                    await self._closing.wait()
            self._news.clear()
            events = list(self._waiting)
            self._waiting.clear()
            if events:
                self._being_written = len(events)
                await self._write(events)
                self._being_written = 0

    async def _write(self, events: list[StreamEvent]) -> None:
        try:
            await self._writer.write(*events)
        except (RedisError, OSError, Fenced) as error:
            # Fenced is no proof that the lease is lost: a write that was repeated because its answer got lost
            # is refused too. PostgreSQL will tell.
            if not self._dropped:
                logger.warning("an event was dropped: %r", error)
            self._dropped += len(events)


def _is_outdated(event: StreamEvent, *, by: StreamEvent) -> bool:
    return isinstance(event, Step) and isinstance(by, Step) and event.node == by.node
