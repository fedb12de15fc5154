"""Waking workers for new jobs, in the background: no answer waits for the broker."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import defaultdict

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind

from impasto_core.queue import QueueUnavailable, WakeUps

logger = logging.getLogger(__name__)
tracer = trace.get_tracer(__name__)


class Waker:
    """Sends a wake-up for each job; those that come while others are sent go together.

    Whatever a process that ends, or a broker that is away, keeps from being sent, the sweeper sends.
    """

    def __init__(self, wake_ups: WakeUps) -> None:
        self._wake_ups = wake_ups
        self._due: defaultdict[str, list[Span]] = defaultdict(list)
        self._sending: asyncio.Task[None] | None = None

    def wake(self, pool: str) -> None:
        self._due[pool].append(tracer.start_span("wake-up", kind=SpanKind.PRODUCER))
        if self._sending is None or self._sending.done():
            # In a context of its own: it sends the wake-ups of other requests too.
            self._sending = asyncio.create_task(self._send(), context=contextvars.Context())

    async def _send(self) -> None:
        while self._due:
            pool, spans = self._due.popitem()
            try:
                await self._wake_ups.send(pool, len(spans))
            except QueueUnavailable as error:
                logger.warning("no wake-up was sent to pool %s, the sweeper will: %s", pool, error)
            for span in spans:
                span.end()

    async def close(self) -> None:
        """Returns when all is sent, or given up: `WakeUps` has a limit of time for each pool."""
        if self._sending is not None:
            await self._sending
