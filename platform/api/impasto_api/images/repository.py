"""Queries on images. Row-level security confines them to the session's organization."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from impasto_core.images.tables import Image


def visible() -> SelectOfScalar[Image]:
    return select(Image).where(col(Image.deleted_at).is_(None))


async def get(session: AsyncSession, image_id: UUID) -> Image | None:
    return (await session.exec(visible().where(Image.id == image_id))).one_or_none()


async def of_jobs(session: AsyncSession, job_ids: Iterable[UUID]) -> Sequence[Image]:
    """The images of all these jobs, in order within each."""
    query = visible().where(col(Image.job_id).in_(list(job_ids))).order_by(col(Image.index))
    return (await session.exec(query)).all()


async def mark_deleted(session: AsyncSession, image_id: UUID, now: datetime) -> bool:
    """Whether there was such an image. The sweeper removes its objects."""
    marked = await session.exec(
        update(Image)
        .where(col(Image.id) == image_id, col(Image.deleted_at).is_(None))
        .values(deleted_at=now)
        .returning(col(Image.id))
    )
    return marked.one_or_none() is not None
