"""Records of answered keys. Lock, find and save happen in the transaction that does the work."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_api.problems import IdempotencyInFlight, IdempotencyKeyReused
from impasto_core.idempotency.tables import IdempotencyRecord


async def lock(session: AsyncSession, organization_id: UUID, key: str) -> None:
    """Own the key until the transaction ends. Raises IdempotencyInFlight where another request owns it."""
    name = func.hashtextextended(f"idempotency:{organization_id}:{key}", 0)
    if not (await session.exec(select(func.pg_try_advisory_xact_lock(name)))).one():
        raise IdempotencyInFlight


async def find(
    session: AsyncSession, key: str, fingerprint: bytes, now: datetime
) -> IdempotencyRecord | None:
    """The answer that the key was given before. Raises IdempotencyKeyReused for another request's key."""
    record = (await session.exec(select(IdempotencyRecord).where(IdempotencyRecord.key == key))).one_or_none()
    if record is None:
        return None
    if record.expires_at <= now:
        await session.exec(delete(IdempotencyRecord).where(col(IdempotencyRecord.key) == key))
        return None
    if record.fingerprint != fingerprint:
        raise IdempotencyKeyReused
    return record


def save(
    session: AsyncSession,
    *,
    organization_id: UUID,
    key: str,
    fingerprint: bytes,
    status: int,
    body: dict[str, Any],
    expires_at: datetime,
) -> None:
    session.add(
        IdempotencyRecord(
            organization_id=organization_id,
            key=key,
            fingerprint=fingerprint,
            status=status,
            body=body,
            expires_at=expires_at,
        )
    )
