"""spending, spend_caps, spend_alerts.

In each of them, `api_key_id` says whose spending it is: a key's, or the organization's where it is null.
"""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from impasto_core.database.columns import created_now, organization_key, primary_key, timestamp


class Spending(SQLModel, table=True):
    """What the jobs created in a month have cost, or can still cost: spent and held credits."""

    __tablename__ = "spending"
    __table_args__ = (
        CheckConstraint("amount >= 0", name="amount"),
        UniqueConstraint("organization_id", "month", "api_key_id", postgresql_nulls_not_distinct=True),
    )

    id: UUID = primary_key()
    organization_id: UUID = organization_key()
    api_key_id: UUID | None = Field(default=None, foreign_key="api_keys.id", ondelete="CASCADE")
    month: date
    amount: int = Field(sa_type=BigInteger)


class SpendCap(SQLModel, table=True):
    """The most that may be spent in a calendar month, in UTC."""

    __tablename__ = "spend_caps"
    __table_args__ = (
        CheckConstraint("amount >= 0", name="amount"),
        UniqueConstraint("organization_id", "api_key_id", postgresql_nulls_not_distinct=True),
    )

    id: UUID = primary_key()
    organization_id: UUID = organization_key()
    api_key_id: UUID | None = Field(default=None, foreign_key="api_keys.id", ondelete="CASCADE")
    amount: int = Field(sa_type=BigInteger)
    created_at: datetime = created_now()
    updated_at: datetime = timestamp()


class SpendAlert(SQLModel, table=True):
    """Spending has reached `percent` of a cap: told once for each month and amount of the cap."""

    __tablename__ = "spend_alerts"
    __table_args__ = (
        UniqueConstraint(
            "organization_id",
            "api_key_id",
            "month",
            "cap",
            "percent",
            name="uq_spend_alerts_once",
            postgresql_nulls_not_distinct=True,
        ),
        Index("ix_spend_alerts_organization_id_id", "organization_id", "id"),
    )

    id: UUID = primary_key()
    organization_id: UUID = organization_key()
    api_key_id: UUID | None = Field(default=None, foreign_key="api_keys.id", ondelete="CASCADE")
    month: date
    cap: int = Field(sa_type=BigInteger)
    percent: int
    spent: int = Field(sa_type=BigInteger)
    created_at: datetime = created_now()
