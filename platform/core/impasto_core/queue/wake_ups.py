"""Sending wake-ups, and counting those that wait."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

from dramatiq import Message

from impasto_core.queue.brokers import BROKER_ERRORS, Broker

ACTOR = "run_next_job"

PATIENCE_SECONDS = 2

NUDGE_SECONDS = 10
"""How often jobs that wait unheard get one more wake-up, whatever a broker says whose count may be old."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class QueueUnavailable(Exception):
    """The broker could not be reached. Nothing is lost: the sweeper wakes the workers later."""


class WakeUps:
    """Sends wake-ups without blocking the event loop, nor the threads that others need: it has its own."""

    def __init__(self, broker: Broker, clock: Callable[[], float] = time.monotonic) -> None:
        self._broker = broker
        self._clock = clock
        self._threads = ThreadPoolExecutor(2, "wake-ups")
        self._topped_up: defaultdict[str, deque[tuple[float, int]]] = defaultdict(deque)

    async def send(self, pool: str, count: int = 1) -> None:
        """Raises QueueUnavailable."""
        await self._call(self.send_now, pool, count)

    def send_now(self, pool: str, count: int) -> None:
        """From any thread, which waits as long as the broker's own limits let it. Raises QueueUnavailable."""
        messages: list[Message[object]] = [
            Message(queue_name=pool, actor_name=ACTOR, args=(pool,), kwargs={}, options={})
            for _ in range(count)
        ]
        try:
            self._broker.declare_queue(pool)
            self._broker.enqueue_all(pool, messages)
        except BROKER_ERRORS as error:
            raise QueueUnavailable(repr(error)) from error

    async def waiting(self, pool: str) -> int:
        """How many wake-ups no worker has taken yet. Raises QueueUnavailable."""
        return await self._call(self._broker.waiting, pool)

    async def top_up(self, pool: str, jobs: int) -> int:
        """Send what a pool's queue lacks of one wake-up for each of `jobs`; how many that was.

        A broker's count may be a minute old. So we remember what we sent in that minute, lest a queue be
        filled again and again while the count says that it is empty; and while it says that the queue is
        full, one wake-up goes there now and then. At worst, both cost wake-ups that find nothing.

        Raises QueueUnavailable.
        """
        waiting = await self.waiting(pool)
        now, lately = self._clock(), self._topped_up[pool]
        settles = self._broker.count_settles_seconds
        while lately and lately[0][0] <= now - settles:
            lately.popleft()
        missing = jobs - max(waiting, sum(count for _, count in lately))
        if missing <= 0 and settles and not (lately and now - lately[-1][0] < NUDGE_SECONDS):
            missing = 1
        if missing <= 0:
            return 0
        await self.send(pool, missing)
        lately.append((now, missing))
        return missing

    async def _call(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """A broker that hangs is away too: nobody waits for it longer than this."""
        call = asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await call
        except (TimeoutError, *BROKER_ERRORS) as error:
            raise QueueUnavailable(repr(error)) from error
