"""What the endpoints work with, made once per process."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from redis.asyncio import Redis

from impasto_api.auth.keys import KeyRing
from impasto_api.jobs.places import Places
from impasto_api.rate_limits.limiter import RateLimiter, open_limiter
from impasto_billing.payments.provider import PaymentProvider, ProviderName
from impasto_billing.payments.providers import make_providers
from impasto_core.clock import Clock, utc_now
from impasto_core.database import Database
from impasto_core.queue import WakeUps, make_broker
from impasto_core.settings import Settings
from impasto_core.storage import ObjectStore

MAX_REDIS_CONNECTIONS = 5000
"""Every stream and wait of the process occupies one while nothing happens."""


@dataclass(frozen=True)
class Services:
    settings: Settings
    clock: Clock
    database: Database
    redis: Redis
    store: ObjectStore
    wake_ups: WakeUps
    keys: KeyRing
    limiter: RateLimiter
    providers: Mapping[ProviderName, PaymentProvider]
    places: Places
    followers: Counter[UUID]
    """Open streams and waits by organization."""


@asynccontextmanager
async def open_services(settings: Settings, clock: Clock = utc_now) -> AsyncIterator[Services]:
    database = Database(settings.database_url.get_secret_value(), pool_size=settings.database_pool_size)
    redis = Redis.from_url(
        settings.redis_url.get_secret_value(),
        max_connections=MAX_REDIS_CONNECTIONS,
        socket_connect_timeout=2,
        socket_timeout=4,  # more than every blocking read, so that it only ever ends dead connections
    )
    broker = make_broker(settings)
    keys = KeyRing(database, pepper=settings.api_key_pepper.get_secret_value(), clock=clock)
    providers = make_providers(settings)
    try:
        async with (
            keys.listening(),
            open_limiter(settings.redis_url.get_secret_value(), clock) as limiter,
        ):
            yield Services(
                settings,
                clock,
                database,
                redis,
                ObjectStore(settings),
                WakeUps(broker),
                keys,
                limiter,
                providers,
                Places(database),
                Counter(),
            )
    finally:
        for provider in providers.values():
            await provider.close()
        broker.close()
        await redis.aclose()
        await database.close()


async def get_services(request: Request) -> Services:
    # Not def: FastAPI sends every dependency that is no coroutine through a thread.
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(get_services)]
