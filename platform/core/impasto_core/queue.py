"""Wake-ups: the Dramatiq message that tells a pool's workers to look for a job.

The message carries no job. A lost one is sent again by the sweeper, a doubled one finds nothing to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

from dramatiq import Message, Middleware
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import DramatiqError
from redis import Redis
from redis.exceptions import RedisError

from impasto_core.settings import Settings

ACTOR = "run_next_job"

PATIENCE_SECONDS = 2

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class QueueUnavailable(Exception):
    """The broker could not be reached. Nothing is lost: the sweeper wakes the workers later."""


def make_broker(settings: Settings, middleware: Sequence[Middleware] = ()) -> RedisBroker:
    """The broker of this process. Those that only send need no middleware."""
    # Given a URL, RedisBroker would make the client itself and forget the timeouts.
    client = Redis.from_url(settings.redis_url.get_secret_value(), socket_connect_timeout=2, socket_timeout=3)
    return RedisBroker(  # type: ignore[no-untyped-call]
        client=client, namespace="impasto:queue", middleware=list(middleware)
    )


class WakeUps:
    """Sends wake-ups without blocking the event loop, nor the threads that others need: it has its own."""

    def __init__(self, broker: RedisBroker) -> None:
        self._broker = broker
        self._threads = ThreadPoolExecutor(2, "wake-ups")

    async def send(self, pool: str, count: int = 1) -> None:
        """Raises QueueUnavailable."""
        await self._call(self._send, pool, count)

    def _send(self, pool: str, count: int) -> None:
        message: Message[None] = Message(
            queue_name=pool, actor_name=ACTOR, args=(pool,), kwargs={}, options={}
        )
        try:
            self._broker.declare_queue(pool)
            for _ in range(count):
                self._broker.enqueue(message.copy())
        except (DramatiqError, RedisError) as error:
            raise QueueUnavailable from error

    async def waiting(self, pool: str) -> int:
        """How many wake-ups no worker has taken yet. Raises QueueUnavailable."""
        return await self._call(self._waiting, pool)

    async def _call(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """A broker that hangs is away too: nobody waits for it longer than this."""
        call = asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await call
        except TimeoutError as error:
            raise QueueUnavailable from error

    def _waiting(self, pool: str) -> int:
        try:
            waiting: int = self._broker.client.llen(f"{self._broker.namespace}:{pool}")
        except RedisError as error:
            raise QueueUnavailable from error
        return waiting
