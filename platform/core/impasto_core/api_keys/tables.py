"""api_keys."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel

from impasto_core.api_versions import LATEST
from impasto_core.database.columns import created_now, organization_key, primary_key, timestamp


class ApiKey(SQLModel, table=True):
    """A key as stored: its lookup id in clear, the token only as a keyed hash.

    `api_version` is the one that was the latest when the key was made.
    """

    __tablename__ = "api_keys"
    __table_args__ = (CheckConstraint("mode IN ('live', 'test')", name="mode"),)

    id: UUID = primary_key()
    organization_id: UUID = organization_key(index=True)
    name: str = Field(max_length=100)
    mode: str = Field(max_length=4)
    lookup_id: str = Field(max_length=12, unique=True)
    token_hash: bytes
    scopes: list[str] = Field(sa_type=ARRAY(Text))
    api_version: str = Field(default=LATEST, max_length=10)
    created_at: datetime = created_now()
    expires_at: datetime | None = timestamp(default=None)
    last_used_at: datetime | None = timestamp(default=None)
    revoked_at: datetime | None = timestamp(default=None)
    successor_id: UUID | None = Field(default=None, foreign_key="api_keys.id", ondelete="SET NULL")
