"""Waking workers for new jobs, in the background: no answer waits for the broker."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from concurrent.futures import ThreadPoolExecutor

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind

from impasto_core.queue import QueueUnavailable, WakeUps
from impasto_core.queue.wake_ups import PATIENCE_SECONDS

logger = logging.getLogger(__name__)
tracer = trace.get_tracer(__name__)


class Waker:
    """Sends a wake-up for each job, from a thread of its own: those that come meanwhile go together.

    Whatever a process that ends, or a broker that is away, keeps from being sent, the sweeper sends.
    """

    def __init__(self, wake_ups: WakeUps) -> None:
        self._wake_ups = wake_ups
        self._due: deque[tuple[str, Span]] = deque()
        self._thread = ThreadPoolExecutor(1, "waker")

    def wake(self, pool: str) -> None:
        self._due.append((pool, tracer.start_span("wake-up", kind=SpanKind.PRODUCER)))
        self._thread.submit(self._send)

    def _send(self) -> None:
        due: defaultdict[str, list[Span]] = defaultdict(list)
        while self._due:
            pool, span = self._due.popleft()
            due[pool].append(span)
        for pool, spans in due.items():
            try:
                self._wake_ups.send_now(pool, len(spans))
            except QueueUnavailable as error:
                logger.warning("no wake-up was sent to pool %s, the sweeper will: %s", pool, error)
            for span in spans:
                span.end()

    async def flush(self) -> None:
        """Returns when all is sent, or given up."""
        last = asyncio.wrap_future(self._thread.submit(self._send))
        await asyncio.wait([last], timeout=PATIENCE_SECONDS)

    async def close(self) -> None:
        await self.flush()
        self._thread.shutdown(wait=False)
