"""idempotency_records."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index
from sqlalchemy.dialects.postgresql import JSON
from sqlmodel import Field, SQLModel

from impasto_core.database.columns import Bytes, created_now, organization_key, timestamp


class IdempotencyRecord(SQLModel, table=True):
    """Written in the transaction that does the work: there is a record if, and only if, the work was done.

    `body` is json and not jsonb, which would sort its names: a replay is the first answer byte for byte.
    """

    __tablename__ = "idempotency_records"
    __table_args__ = (Index("ix_idempotency_records_expires_at", "expires_at"),)

    organization_id: UUID = organization_key(primary_key=True)
    key: str = Field(max_length=255, primary_key=True)
    fingerprint: Bytes
    status: int
    body: dict[str, Any] = Field(sa_type=JSON)
    created_at: datetime = created_now()
    expires_at: datetime = timestamp()
