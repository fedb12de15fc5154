"""The API over HTTP, a tenant, and a painter who plays the worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Protocol

import httpx
import pytest
from fastapi import FastAPI
from redis.asyncio import Redis

from impasto_api.app import create_app
from impasto_core.clock import utc_now
from impasto_core.database import Database
from impasto_core.settings import Settings
from tests.support.painters import Painter
from tests.support.servers import serve
from tests.support.tenants import Tenant, make_tenant, register_model


class MovableClock:
    """The real time, moved by hand."""

    def __init__(self) -> None:
        self._offset = timedelta()

    def __call__(self) -> datetime:
        return utc_now() + self._offset

    def advance(self, **amount: float) -> None:
        self._offset += timedelta(**amount)


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def app(settings: Settings, clock: MovableClock) -> FastAPI:
    return create_app(settings, clock=clock)


@pytest.fixture
async def base_url(app: FastAPI, redis: Redis) -> AsyncIterator[str]:
    async with serve(app) as url:
        yield url


@pytest.fixture
async def tenant(owner_database: Database, settings: Settings) -> Tenant:
    await register_model(owner_database)
    return await make_tenant(owner_database, settings)


@pytest.fixture
async def stranger(owner_database: Database, settings: Settings) -> Tenant:
    """Somebody else's organization."""
    return await make_tenant(owner_database, settings)


@pytest.fixture
async def client(base_url: str, tenant: Tenant) -> AsyncIterator[httpx.AsyncClient]:
    """The tenant's HTTP client."""
    async with httpx.AsyncClient(base_url=base_url, headers=tenant.headers, timeout=20) as client:
        yield client


class WakeUpsSent(Protocol):
    async def __call__(self, pool: str = "default") -> int: ...


@pytest.fixture
def wake_ups(app: FastAPI, redis: Redis) -> WakeUpsSent:
    """Counts those that no worker has taken, once all are sent: answers do not wait for that."""

    async def count(pool: str = "default") -> int:
        await app.state.services.waker.flush()
        return int(await redis.llen(f"impasto:queue:{pool}"))

    return count


@pytest.fixture
async def anonymous(base_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key, which can also reach presigned URLs."""
    async with httpx.AsyncClient(base_url=base_url, timeout=20) as client:
        yield client


@pytest.fixture
def painter(worker_database: Database, redis: Redis, settings: Settings) -> Painter:
    return Painter(worker_database, redis, settings)
