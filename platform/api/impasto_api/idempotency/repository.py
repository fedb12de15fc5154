"""Records of answered keys."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_api.problems import IdempotencyKeyReused
from impasto_core.idempotency.tables import IdempotencyRecord


async def find(
    session: AsyncSession, key: str, fingerprint: bytes, now: datetime
) -> IdempotencyRecord | None:
    """The answer that the key was given before. Raises IdempotencyKeyReused for another request's key."""
    record = (await session.exec(select(IdempotencyRecord).where(IdempotencyRecord.key == key))).one_or_none()
    if record is None or record.expires_at <= now:
        return None
    if record.fingerprint != fingerprint:
        raise IdempotencyKeyReused
    return record
