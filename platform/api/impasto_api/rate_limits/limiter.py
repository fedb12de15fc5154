"""The limiter: Redis's windows, and this process's own for as long as Redis is away."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from opentelemetry.metrics import Meter, get_meter
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from impasto_api.rate_limits.policies import Charge
from impasto_api.rate_limits.windows import MemoryWindows, Quota, RedisWindows
from impasto_api.redis_connections import saying_when_lost
from impasto_core.clock import Clock

logger = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 1.0
"""A request waits no longer for its limits: those of the process are good enough."""

_RETRY_SECONDS = 5.0
"""While Redis is away, one request each so often finds out whether it is back."""


class RateLimiter:
    """Takes charges of limits. Made by `open_limiter`.

    Without Redis every process allows the whole limit by itself: more than was promised, never less.
    """

    def __init__(self, redis: Redis, clock: Clock, meter: Meter) -> None:
        self._shared = RedisWindows(redis)
        self._own = MemoryWindows()
        self._clock = clock
        self._away = False
        self._try_again_at = 0.0
        self._checks = meter.create_counter(
            "impasto.rate_limits.checks", description="Requests held against their limits, by where."
        )
        self._fallback = meter.create_up_down_counter(
            "impasto.rate_limits.fallback", description="Processes that limit by themselves: Redis is away."
        )
        self._fallback.add(0)  # told from the start, so that an alert has something to watch

    async def take(self, charges: Sequence[Charge]) -> list[Quota]:
        """All the charges where every limit allows it, and none of them otherwise."""
        now_ms = round(self._clock().timestamp() * 1000)
        if self._is_worth_a_try():
            try:
                quotas = await self._shared.take(now_ms, charges)
            except (RedisError, OSError) as error:
                self._went_away(error)
            else:
                self._is_here()
                self._checks.add(1, {"storage": "redis"})
                return quotas
        self._checks.add(1, {"storage": "memory"})
        return self._own.take(now_ms, charges)

    def _is_worth_a_try(self) -> bool:
        if not self._away:
            return True
        if time.monotonic() < self._try_again_at:
            return False
        self._try_again_at = time.monotonic() + _RETRY_SECONDS
        return True

    def _went_away(self, error: Exception) -> None:
        if not self._away:
            self._away = True
            self._try_again_at = time.monotonic() + _RETRY_SECONDS
            self._fallback.add(1)
            logger.warning("Redis is away: this process keeps the rate limits by itself: %s", error)

    def _is_here(self) -> None:
        if self._away:
            self._away = False
            self._own = MemoryWindows()
            self._fallback.add(-1)
            logger.info("Redis is back and keeps the rate limits again")


@asynccontextmanager
async def open_limiter(
    redis_url: str, clock: Clock, meter: Meter | None = None
) -> AsyncIterator[RateLimiter]:
    """A limiter with Redis connections of its own, which give up sooner than any others."""
    redis = saying_when_lost(
        Redis.from_url(
            redis_url,
            socket_connect_timeout=_TIMEOUT_SECONDS,
            socket_timeout=_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
    )
    try:
        yield RateLimiter(redis, clock, meter or get_meter("impasto.api"))
    finally:
        await redis.aclose()
