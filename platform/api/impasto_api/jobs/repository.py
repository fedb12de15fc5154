"""Queries on jobs. Row-level security confines them to the session's organization."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import defer
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from impasto_core.database import Database, returned_by
from impasto_core.images.tables import Image
from impasto_core.jobs.tables import Job, JobStatus

_STATUSES = text("SELECT id, status FROM jobs WHERE id = ANY(:ids)")

_Found = returned_by("find_job", Job, "organization_id", "id")
# A graph may be large, and only `get_graph` tells it.
_FIND = select(_Found).options(defer(_Found.graph, raiseload=True))  # type: ignore[arg-type]  # it is a column
_FIND_IMAGES = select(returned_by("find_images_of_job", Image, "organization_id", "id"))


async def find(database: Database, organization_id: UUID, job_id: UUID) -> tuple[Job, Sequence[Image]] | None:
    """The job without its graph, and its images once it has ended.

    What is asked for most of all: statements that name the organization themselves, without a transaction.
    """
    names = {"organization_id": organization_id, "id": job_id}
    async with database.autocommit() as connection, AsyncSession(connection) as session:
        job = (await session.exec(_FIND, params=names)).one_or_none()
        if job is None:
            return None
        return job, (await session.exec(_FIND_IMAGES, params=names)).all() if job.finished_at else []


async def get_statuses(session: AsyncSession, job_ids: Collection[UUID]) -> dict[UUID, JobStatus]:
    connection = await session.connection()
    rows = await connection.execute(_STATUSES, {"ids": list(job_ids)})
    return {row.id: JobStatus(row.status) for row in rows}


async def get_graph(session: AsyncSession, job_id: UUID) -> dict[str, Any] | None:
    graph = (await session.exec(select(Job.graph).where(Job.id == job_id))).one_or_none()
    return None if graph is None else dict(graph)


def matching(
    *,
    status: JobStatus | None,
    pipeline: str | None,
    created_after: datetime | None,
    created_before: datetime | None,
) -> SelectOfScalar[Job]:
    # A graph may be large, and no list shows it.
    query = select(Job).options(defer(Job.graph, raiseload=True))  # type: ignore[arg-type]  # it is a column
    if status is not None:
        query = query.where(Job.status == status)
    if pipeline is not None:
        query = query.where(Job.pipeline == pipeline)
    if created_after is not None:
        query = query.where(col(Job.created_at) > created_after)
    if created_before is not None:
        query = query.where(col(Job.created_at) < created_before)
    return query
