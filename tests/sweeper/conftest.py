"""An organization with jobs."""

from __future__ import annotations

import pytest

from impasto_core.database import Database
from impasto_core.settings import Settings
from tests.support.job_desk import Jobs
from tests.support.tenants import make_tenant, register_model


@pytest.fixture
async def jobs(owner_database: Database, settings: Settings) -> Jobs:
    model = await register_model(owner_database)
    tenant = await make_tenant(owner_database, settings)
    return Jobs(owner_database, tenant.organization_id, model)
