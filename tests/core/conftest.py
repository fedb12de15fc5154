"""An organization with a model to run, and the processes that meet in the database."""

from __future__ import annotations

import pytest

from impasto_core.database import Database
from impasto_core.models.tables import Model
from impasto_core.settings import Settings
from tests.support.tenants import Tenant, make_tenant, register_model


@pytest.fixture
async def model(owner_database: Database) -> Model:
    return await register_model(owner_database)


@pytest.fixture
async def tenant(owner_database: Database, settings: Settings) -> Tenant:
    return await make_tenant(owner_database, settings)


@pytest.fixture
async def stranger(owner_database: Database, settings: Settings) -> Tenant:
    """Somebody else's organization."""
    return await make_tenant(owner_database, settings)
