"""Both clients in front of the real API, over HTTP and over ASGI, with a painter who plays the worker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI

from impasto import AsyncImpasto, Impasto
from tests.api.conftest import app, base_url, clock, painter, stranger, tenant
from tests.sdk.conftest import Sdk
from tests.support.painters import Painter
from tests.support.tenants import Tenant

__all__ = ["app", "base_url", "clock", "painter", "stranger", "tenant"]


@pytest.fixture
async def busy_painter(painter: Painter) -> AsyncIterator[None]:
    """Every job is painted as soon as it comes."""

    async def work() -> None:
        while True:
            with contextlib.suppress(AssertionError):  # nothing to do
                await painter.paint_next()
            await asyncio.sleep(0.02)

    task = asyncio.create_task(work())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@asynccontextmanager
async def connect(transport: str, base_url: str, app: FastAPI, api_key: str) -> AsyncIterator[Sdk]:
    """The SDK in front of the API."""
    if transport == "sync-http":
        with Impasto(api_key, base_url=base_url) as client:
            yield Sdk(client)
    elif transport == "async-http":
        async with AsyncImpasto(api_key, base_url=base_url) as async_client:
            yield Sdk(async_client)
    else:
        # Presigned URLs still lead to the real object store.
        mounts = {"http://impasto.test": httpx.ASGITransport(app)}
        async with httpx.AsyncClient(mounts=mounts) as http:
            yield Sdk(AsyncImpasto(api_key, base_url="http://impasto.test", http_client=http))


@pytest.fixture(params=["sync-http", "async-http", "async-asgi"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def sdk(transport: str, base_url: str, app: FastAPI, tenant: Tenant) -> AsyncIterator[Sdk]:
    async with connect(transport, base_url, app, tenant.api_key) as sdk:
        yield sdk
