"""Queries on jobs. Row-level security confines them to the session's organization."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import defer
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from impasto_core.jobs.tables import Job, JobStatus

_STATUSES = text("SELECT id, status FROM jobs WHERE id = ANY(:ids)")


async def get(session: AsyncSession, job_id: UUID) -> Job | None:
    return (await session.exec(select(Job).where(Job.id == job_id))).one_or_none()


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
