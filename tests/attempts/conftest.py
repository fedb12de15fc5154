"""A worker without a device: everything is real but the runtime, which does as the test says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from impasto_core.database import Database
from impasto_core.models.tables import Model
from impasto_core.queue import WakeUps, make_broker
from impasto_core.settings import Settings
from impasto_workers.services import Services, open_services
from tests.attempts.brush import Brush
from tests.support.databases import DatabaseUrls
from tests.support.job_desk import Jobs
from tests.support.tenants import make_tenant, register_model


@pytest.fixture
def settings(settings: Settings, urls: DatabaseUrls) -> Settings:
    """Settings of a worker process."""
    return settings.model_copy(update={"database_url": SecretStr(urls.worker)})


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """Empty: the brush needs no weights."""
    folder = tmp_path / "model"
    folder.mkdir()
    return folder


@pytest.fixture
async def model(owner_database: Database, model_folder: Path) -> Model:
    return await register_model(owner_database, source=model_folder.as_uri())


@pytest.fixture
async def jobs(owner_database: Database, settings: Settings, model: Model) -> Jobs:
    tenant = await make_tenant(owner_database, settings)
    return Jobs(owner_database, tenant.organization_id, model)


@pytest.fixture
def brush() -> Brush:
    return Brush()


@pytest.fixture
async def services(settings: Settings, redis: Redis, brush: Brush) -> AsyncIterator[Services]:
    """The worker's services; Redis is empty."""
    async with open_services(settings, WakeUps(make_broker(settings)), lambda: brush) as services:
        yield services
