"""/livez, /readyz and /version: for load balancers and people, without a key."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy import text

from impasto_api.problems import ServiceUnavailable
from impasto_api.services import Services, ServicesDep

router = APIRouter(tags=["health"])

_CHECK_SECONDS = 2


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class Version(BaseModel):
    version: str = Field(examples=["0.1.0"])


@router.get("/livez", operation_id="health.live", summary="Is the process alive?")
async def live() -> Health:
    """It is, where this is answered."""
    return Health()


@router.get("/readyz", operation_id="health.ready", summary="Can it serve requests?")
async def ready(services: ServicesDep) -> Health:
    """Asks PostgreSQL and the object store. Redis may be away: jobs are accepted and run when it is back."""
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            await asyncio.gather(_database(services), services.store.check())
    except TimeoutError:
        raise ServiceUnavailable("A dependency does not answer.") from None
    return Health()


async def _database(services: Services) -> None:
    async with services.database.session() as session:
        connection = await session.connection()
        await connection.execute(text("SELECT version_num FROM alembic_version"))


@router.get("/version", operation_id="health.version", summary="Which release is this?")
async def get_version() -> Version:
    """The release that answers. The API's own versions are dates: see `Impasto-Version`."""
    return Version(version=version("impasto-api"))
