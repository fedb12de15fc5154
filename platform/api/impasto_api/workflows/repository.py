"""Queries on workflows. Row-level security confines them to the session's organization."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import update
from sqlalchemy.orm import defer
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from impasto_core.workflows.tables import Workflow, WorkflowVersion


def matching(*, archived: bool) -> SelectOfScalar[Workflow]:
    query = select(Workflow)
    return query if archived else query.where(col(Workflow.archived_at).is_(None))


async def get(session: AsyncSession, slug: str, *, lock: bool = False) -> Workflow | None:
    query = select(Workflow).where(Workflow.slug == slug)
    return (await session.exec(query.with_for_update() if lock else query)).one_or_none()


async def get_version(session: AsyncSession, workflow: Workflow, number: int) -> WorkflowVersion | None:
    query = select(WorkflowVersion).where(
        WorkflowVersion.workflow_id == workflow.id, WorkflowVersion.number == number
    )
    return (await session.exec(query)).one_or_none()


async def versions(
    session: AsyncSession, workflow: Workflow, *, below: int | None, limit: int
) -> Sequence[WorkflowVersion]:
    """The latest first, without what makes them large."""
    query = select(WorkflowVersion).where(WorkflowVersion.workflow_id == workflow.id)
    if below is not None:
        query = query.where(WorkflowVersion.number < below)
    large = (WorkflowVersion.document, WorkflowVersion.graph, WorkflowVersion.inputs)
    options = [defer(column, raiseload=True) for column in large]  # type: ignore[arg-type]  # they are columns
    return (
        await session.exec(query.options(*options).order_by(col(WorkflowVersion.number).desc()).limit(limit))
    ).all()


async def save(session: AsyncSession, workflow: Workflow, **changes: object) -> None:
    await session.exec(update(Workflow).where(col(Workflow.id) == workflow.id).values(**changes))
    await session.refresh(workflow)
