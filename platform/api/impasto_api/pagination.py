"""Lists: newest first, by opaque cursor. Ids are UUIDv7, so the last id of a page is all a cursor needs."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from fastapi import Depends, Query
from pydantic import BaseModel, Field
from sqlmodel import SQLModel, col
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from impasto_api.problems import ValidationFailed

RowT = TypeVar("RowT", bound=SQLModel)
ItemT = TypeVar("ItemT")


class Page(BaseModel, Generic[ItemT]):
    """A page of a list, newest first. Pass `next_cursor` as `cursor` to get the next one."""

    data: list[ItemT]
    has_more: bool
    next_cursor: str | None = Field(default=None, description="Null on the last page.")


class PageRequest:
    """Which part of a list is asked for."""

    def __init__(self, limit: int, cursor: str | None) -> None:
        self.limit = limit
        self.before = _decode(cursor) if cursor else None

    async def select(
        self, session: AsyncSession, query: SelectOfScalar[RowT], key: Any
    ) -> tuple[Sequence[RowT], str | None]:
        """The page's rows and the next page's cursor, if there is one. `key` is the id column."""
        if self.before is not None:
            query = query.where(col(key) < self.before)
        rows = (await session.exec(query.order_by(col(key).desc()).limit(self.limit + 1))).all()
        page = rows[: self.limit]
        has_more = len(rows) > self.limit
        return page, _encode(getattr(page[-1], key.key)) if has_more else None


async def _page_request(
    limit: Annotated[int, Query(ge=1, le=100, description="Items a page.")] = 20,
    cursor: Annotated[
        str | None, Query(max_length=64, description="`next_cursor` of the page before.")
    ] = None,
) -> PageRequest:
    """The query parameters of every list."""
    return PageRequest(limit, cursor)


PageDep = Annotated[PageRequest, Depends(_page_request)]


def make_page(rows: Sequence[RowT], next_cursor: str | None, view: Callable[[RowT], ItemT]) -> Page[ItemT]:
    return Page(data=[view(row) for row in rows], has_more=next_cursor is not None, next_cursor=next_cursor)


def _encode(key: UUID) -> str:
    return base64.urlsafe_b64encode(key.bytes).decode().rstrip("=")


def _decode(cursor: str) -> UUID:
    try:
        return UUID(bytes=base64.urlsafe_b64decode(cursor + "=="))
    except (ValueError, binascii.Error):
        raise ValidationFailed.of(
            "query", "cursor", "invalid", "Not a cursor: pass next_cursor of the page before, unchanged."
        ) from None
