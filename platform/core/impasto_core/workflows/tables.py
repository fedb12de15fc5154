"""workflows and workflow_versions."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import UniqueConstraint
from sqlmodel import Field, SQLModel

from impasto_core.database.columns import (
    created_now,
    json_column,
    ordered_json_column,
    organization_key,
    primary_key,
    timestamp,
)


class Workflow(SQLModel, table=True):
    """A workflow under its slug, which stays taken when it is archived. `latest` is its highest version."""

    __tablename__ = "workflows"
    __table_args__ = (UniqueConstraint("organization_id", "slug"),)

    id: UUID = primary_key()
    organization_id: UUID = organization_key()
    slug: str = Field(max_length=63)
    name: str = Field(max_length=200)
    description: str = Field(default="", max_length=2000)
    latest: int
    created_at: datetime = created_now()
    archived_at: datetime | None = timestamp(default=None)


class WorkflowVersion(SQLModel, table=True):
    """A workflow as it was saved, never changed again.

    `document` is what InvokeAI's editor had exported. `graph` and `inputs` follow from it: the graph with the
    values that it was saved with, and the fields that a run may set (see `impasto_core.workflows.inputs`).
    """

    __tablename__ = "workflow_versions"

    workflow_id: UUID = Field(foreign_key="workflows.id", ondelete="CASCADE", primary_key=True)
    number: int = Field(primary_key=True)
    organization_id: UUID = organization_key(index=True)
    document: dict[str, Any] = ordered_json_column()
    graph: dict[str, Any] = ordered_json_column()
    inputs: list[dict[str, Any]] = json_column()
    input_schema: dict[str, Any] = ordered_json_column()
    created_at: datetime = created_now()
