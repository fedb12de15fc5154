"""images."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from impasto_core.database.columns import created_now, organization_key, primary_key, timestamp


class Image(SQLModel, table=True):
    """One output of a job. A deleted row stays until the sweeper has removed its objects."""

    __tablename__ = "images"
    __table_args__ = (
        UniqueConstraint("job_id", "index"),
        Index("ix_images_organization_id_id", "organization_id", "id"),
        Index("ix_images_kept", "organization_id", "created_at", postgresql_where="deleted_at IS NULL"),
        Index("ix_images_deleted_at", "deleted_at", postgresql_where="deleted_at IS NOT NULL"),
    )

    id: UUID = primary_key()
    organization_id: UUID = organization_key()
    job_id: UUID = Field(foreign_key="jobs.id", ondelete="CASCADE")
    index: int
    node: str = Field(max_length=100)
    object_key: str = Field(max_length=500)
    thumbnail_key: str = Field(max_length=500)
    content_type: str = Field(max_length=50)
    width: int
    height: int
    size: int = Field(sa_type=BigInteger)
    sha256: str = Field(max_length=64)
    seed: int | None = Field(default=None, sa_type=BigInteger)
    created_at: datetime = created_now()
    deleted_at: datetime | None = timestamp(default=None)
