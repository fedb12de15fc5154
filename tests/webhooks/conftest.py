"""An organization with endpoints, a receiver for them, a dispatcher, and a clock that can be moved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest

from impasto_core.database import Database
from impasto_core.models.tables import Model
from impasto_core.settings import Settings
from impasto_core.webhooks.guard import Guard
from impasto_core.webhooks.secrets import SecretBox
from impasto_workers.webhooks.dispatcher import Dispatcher
from impasto_workers.webhooks.sender import Sender
from tests.support.databases import DatabaseUrls
from tests.support.job_desk import Jobs
from tests.support.tenants import Tenant, make_tenant, register_model
from tests.webhooks.desk import Desk
from tests.webhooks.receiver import Receiver, receiving

LOCAL = Guard(https_only=False, allowed=(ip_network("127.0.0.0/8"),))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
async def model(owner_database: Database) -> Model:
    return await register_model(owner_database)


@pytest.fixture
async def tenant(owner_database: Database, settings: Settings) -> Tenant:
    return await make_tenant(owner_database, settings)


@pytest.fixture
async def jobs(owner_database: Database, tenant: Tenant, model: Model) -> Jobs:
    return Jobs(owner_database, tenant.organization_id, model)


@pytest.fixture
def box(settings: Settings) -> SecretBox:
    return SecretBox.of(settings)


@pytest.fixture
def desk(
    owner_database: Database, worker_database: Database, api_database: Database, jobs: Jobs, box: SecretBox
) -> Desk:
    return Desk(owner_database, worker_database, api_database, jobs, box)


@pytest.fixture
async def webhooks_database(urls: DatabaseUrls) -> AsyncIterator[Database]:
    database = Database(urls.webhooks, pool_size=4)
    yield database
    await database.close()


@pytest.fixture
def sender() -> Sender:
    """With less patience than in production."""
    return Sender(LOCAL, body_seconds=0.2)


@asynccontextmanager
async def dispatching(database: Database, sender: Sender, box: SecretBox) -> AsyncIterator[None]:
    """A dispatcher at work."""
    dispatcher = Dispatcher(database, sender, box)
    running = asyncio.create_task(dispatcher.run())
    try:
        yield
        assert not running.done(), running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def dispatcher(webhooks_database: Database, sender: Sender, box: SecretBox) -> AsyncIterator[None]:
    async with dispatching(webhooks_database, sender, box):
        yield
