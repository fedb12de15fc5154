"""organizations, storage_usage, users, memberships."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, text
from sqlmodel import Field, SQLModel

from impasto_core.database.columns import created_now, organization_key, primary_key


class MemberRole(StrEnum):
    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"


class Organization(SQLModel, table=True):
    """A tenant. The queue shares a pool out in proportion to `queue_weight`.

    `concurrent_jobs` is how many of its jobs may run at once, in all pools together; None is any number.
    """

    __tablename__ = "organizations"
    __table_args__ = (
        CheckConstraint("queue_weight > 0", name="queue_weight"),
        CheckConstraint("concurrent_jobs >= 0", name="concurrent_jobs"),
    )

    id: UUID = primary_key()
    name: str = Field(max_length=100)
    slug: str = Field(max_length=63, unique=True)
    created_at: datetime = created_now()
    queue_weight: int = Field(default=10, sa_column_kwargs={"server_default": text("10")})
    concurrent_jobs: int | None = None


class StorageUsage(SQLModel, table=True):
    """Bytes of an organization's images and uploads. Triggers on both keep it, and nothing else writes it."""

    __tablename__ = "storage_usage"
    __table_args__ = (CheckConstraint("bytes >= 0", name="bytes"),)

    organization_id: UUID = organization_key(primary_key=True)
    bytes: int = Field(sa_type=BigInteger)


class User(SQLModel, table=True):
    """A person. Not a tenant's row: one person may be a member of several organizations."""

    __tablename__ = "users"

    id: UUID = primary_key()
    email: str = Field(max_length=320, unique=True)
    name: str = Field(max_length=100)
    created_at: datetime = created_now()


class Membership(SQLModel, table=True):
    __tablename__ = "memberships"
    __table_args__ = (CheckConstraint("role IN ('owner', 'admin', 'member')", name="role"),)

    organization_id: UUID = organization_key(primary_key=True)
    user_id: UUID = Field(foreign_key="users.id", ondelete="CASCADE", primary_key=True, index=True)
    role: str = Field(default=MemberRole.MEMBER, max_length=16)
    created_at: datetime = created_now()
