"""Records of answered keys."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_api.idempotency.key import KeyedRequest
from impasto_api.problems import IdempotencyKeyReused
from impasto_core.database import Database, returned_by
from impasto_core.idempotency.tables import IdempotencyRecord

_FIND = select(returned_by("find_answer", IdempotencyRecord, "organization_id", "key"))


async def find_answer(
    database: Database, organization_id: UUID, request: KeyedRequest, now: datetime
) -> IdempotencyRecord | None:
    """What the key was answered before. Raises IdempotencyKeyReused for another request's key."""
    names = {"organization_id": organization_id, "key": request.key}
    async with database.autocommit() as connection, AsyncSession(connection) as session:
        record = (await session.exec(_FIND, params=names)).one_or_none()
    if record is None or record.expires_at <= now:
        return None
    if record.fingerprint != request.fingerprint:
        raise IdempotencyKeyReused
    return record
