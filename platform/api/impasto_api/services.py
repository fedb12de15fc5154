"""What the endpoints work with, made once per process."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionLost

from impasto_api.auth.keys import KeyRing
from impasto_api.jobs.hub import EventHub
from impasto_api.jobs.places import Places
from impasto_api.jobs.waking import Waker
from impasto_api.memory import listening
from impasto_api.models.shelf import Models
from impasto_api.rate_limits.limiter import RateLimiter, open_limiter
from impasto_api.redis_connections import saying_when_lost
from impasto_billing.payments.provider import PaymentProvider, ProviderName
from impasto_billing.payments.providers import make_providers
from impasto_core.clock import Clock, utc_now
from impasto_core.database import Database
from impasto_core.queue import WakeUps, make_broker
from impasto_core.settings import Settings
from impasto_core.storage import ObjectStore
from impasto_core.webhooks.guard import Guard
from impasto_core.webhooks.secrets import SecretBox

REDIS_CONNECTIONS = 16
"""For commands, none of which blocks. The hub and the rate limits have one more each."""


@dataclass(frozen=True)
class Services:
    settings: Settings
    clock: Clock
    database: Database
    redis: Redis
    store: ObjectStore
    waker: Waker
    keys: KeyRing
    models: Models
    limiter: RateLimiter
    providers: Mapping[ProviderName, PaymentProvider]
    places: Places
    hub: EventHub
    followers: Counter[UUID]
    """Open streams and waits by organization."""
    webhook_guard: Guard
    secret_box: SecretBox


@asynccontextmanager
async def open_services(settings: Settings, clock: Clock = utc_now) -> AsyncIterator[Services]:
    database = Database(settings.database_url.get_secret_value(), pool_size=settings.database_pool_size)
    redis_url = settings.redis_url.get_secret_value()
    redis = saying_when_lost(
        Redis.from_pool(
            BlockingConnectionPool.from_url(
                redis_url,
                max_connections=REDIS_CONNECTIONS,
                timeout=4,
                socket_connect_timeout=2,
                socket_timeout=4,
                # Connections that lie in the pool may have been closed. To hang once is enough.
                retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionLost,)),
            )
        )
    )
    listener = saying_when_lost(
        Redis.from_url(
            redis_url,
            socket_connect_timeout=2,
            # The hub connects anew itself: redis-py would do so while another task is writing.
            retry=Retry(NoBackoff(), 0, supported_errors=()),
        )
    )
    places = Places(database)
    hub = EventHub(redis, listener, database, places)
    broker = make_broker(settings)
    waker = Waker(WakeUps(broker))
    keys = KeyRing(database, pepper=settings.api_key_pepper.get_secret_value(), clock=clock)
    models = Models(database)
    providers = make_providers(settings)
    try:
        async with (
            listening(database, keys.memory, models.memory),
            keys.recording(),
            hub.running(),
            open_limiter(redis_url, clock) as limiter,
        ):
            yield Services(
                settings,
                clock,
                database,
                redis,
                ObjectStore(settings),
                waker,
                keys,
                models,
                limiter,
                providers,
                places,
                hub,
                Counter(),
                Guard.of(settings),
                SecretBox.of(settings),
            )
    finally:
        for provider in providers.values():
            await provider.close()
        await waker.close()
        broker.close()
        await listener.aclose()
        await redis.aclose()
        await database.close()


async def get_services(request: Request) -> Services:
    # Not def: FastAPI sends every dependency that is no coroutine through a thread.
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(get_services)]
