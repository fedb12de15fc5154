"""Queries on uploads. Row-level security confines them to the session's organization."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_api.uploads.pictures import Picture
from impasto_core.uploads.tables import Upload, UploadStatus


async def get(session: AsyncSession, upload_id: UUID) -> Upload | None:
    return (await session.exec(select(Upload).where(Upload.id == upload_id))).one_or_none()


async def mark_verified(
    session: AsyncSession, upload_id: UUID, picture: Picture, *, expires_at: datetime
) -> None:
    await session.exec(
        update(Upload)
        .where(col(Upload.id) == upload_id)
        .values(
            status=UploadStatus.VERIFIED,
            width=picture.width,
            height=picture.height,
            sha256=picture.sha256,
            expires_at=expires_at,
        )
    )
