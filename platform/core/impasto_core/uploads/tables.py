"""uploads."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, Index
from sqlmodel import Field, SQLModel

from impasto_core.database.columns import created_now, organization_key, primary_key, timestamp


class UploadStatus(StrEnum):
    PENDING = "pending"
    VERIFIED = "verified"


class Upload(SQLModel, table=True):
    """An upload. The caller may write to `object_key` until `expires_at`; what was verified is copied to
    `verified_key`, which no caller can write to, so that nobody swaps the bytes after the check.
    """

    __tablename__ = "uploads"
    __table_args__ = (
        CheckConstraint("status IN ('pending', 'verified')", name="status"),
        Index("ix_uploads_expires_at", "expires_at"),
    )

    id: UUID = primary_key()
    organization_id: UUID = organization_key(index=True)
    status: str = Field(default=UploadStatus.PENDING, max_length=16)
    object_key: str = Field(max_length=500)
    verified_key: str = Field(max_length=500)
    content_type: str = Field(max_length=50)
    size: int
    width: int | None = None
    height: int | None = None
    sha256: str | None = Field(default=None, max_length=64)
    created_at: datetime = created_now()
    expires_at: datetime = timestamp()
