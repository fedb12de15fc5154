"""plans, organization_plans."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlmodel import Field, SQLModel

from impasto_core.database.columns import created_now, json_column, organization_key, timestamp


class PlanRow(SQLModel, table=True):
    """A plan as last synced: `terms` is a whole `Plan`. Not a tenant's row: everyone may read it."""

    __tablename__ = "plans"

    slug: str = Field(max_length=63, primary_key=True)
    position: int
    terms: dict[str, Any] = json_column()
    updated_at: datetime = timestamp()


class OrganizationPlan(SQLModel, table=True):
    """Which plan an organization is on. Written by the function assign_plan alone."""

    __tablename__ = "organization_plans"

    organization_id: UUID = organization_key(primary_key=True)
    plan: str = Field(max_length=63, foreign_key="plans.slug", index=True)
    assigned_at: datetime = created_now()
