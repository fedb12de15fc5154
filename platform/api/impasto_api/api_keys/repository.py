"""Queries on API keys. Row-level security confines them to the session's organization."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_core.api_keys.tables import ApiKey


async def get(session: AsyncSession, key_id: UUID, *, lock: bool = False) -> ApiKey | None:
    query = select(ApiKey).where(ApiKey.id == key_id)
    return (await session.exec(query.with_for_update() if lock else query)).one_or_none()


async def change(session: AsyncSession, key: ApiKey, **values: datetime | UUID | None) -> ApiKey:
    """Set `revoked_at`, `expires_at`, `successor_id`. Every API process hears of it when it is committed."""
    await session.exec(update(ApiKey).where(col(ApiKey.id) == key.id).values(**values))
    await session.refresh(key)
    return key
