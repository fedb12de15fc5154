"""Column types that all tables share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import PlainSerializer
from sqlalchemy import DateTime, MetaData
from sqlalchemy.dialects.postgresql import JSON, JSONB
from sqlmodel import Field, SQLModel

from impasto_core.clock import utc_now
from impasto_core.ids import new_id

# Every constraint has a predictable name, so that migrations can change it.
SQLModel.metadata.naming_convention = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
).naming_convention


Bytes = Annotated[bytes, PlainSerializer(lambda value: f"\\x{value.hex()}", when_used="json")]
"""In JSON as PostgreSQL reads it for a bytea."""


def primary_key() -> Any:
    return Field(default_factory=new_id, primary_key=True)


def organization_key(**options: Any) -> Any:
    """The tenant of a row: what every row-level security policy compares."""
    return Field(foreign_key="organizations.id", ondelete="CASCADE", **options)


def timestamp(**options: Any) -> Any:
    return Field(sa_type=DateTime(timezone=True), **options)


def created_now() -> Any:
    return timestamp(default_factory=utc_now)


def json_column(**options: Any) -> Any:
    return Field(sa_type=JSONB(none_as_null=True), **options)


def ordered_json_column(**options: Any) -> Any:
    """JSON whose objects keep the order of their members; JSONB sorts them."""
    return Field(sa_type=JSON(none_as_null=True), **options)
