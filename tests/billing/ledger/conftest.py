"""An organization without credits, and its books."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from impasto_core.database import Database
from impasto_core.settings import Settings
from tests.billing.ledger.books import Books
from tests.support.databases import DatabaseUrls
from tests.support.tenants import make_tenant


@pytest.fixture
async def api_database(urls: DatabaseUrls) -> AsyncIterator[Database]:
    database = Database(urls.api, pool_size=8)
    yield database
    await database.close()


@pytest.fixture
async def payments_database(urls: DatabaseUrls) -> AsyncIterator[Database]:
    database = Database(urls.payments, pool_size=4)
    yield database
    await database.close()


@pytest.fixture
async def books(
    owner_database: Database,
    api_database: Database,
    worker_database: Database,
    payments_database: Database,
    settings: Settings,
) -> Books:
    tenant = await make_tenant(owner_database, settings, balance=0)
    return Books(owner_database, api_database, worker_database, payments_database, tenant.organization_id)


@pytest.fixture
async def other_books(books: Books, settings: Settings) -> Books:
    """Those of another organization."""
    tenant = await make_tenant(books.owner, settings, balance=0)
    return Books(books.owner, books.api, books.worker, books.payments, tenant.organization_id)
