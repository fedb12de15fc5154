"""Usage as CSV (RFC 4180): streamed, and harmless to the spreadsheet that opens it."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterable

from starlette.responses import StreamingResponse

MEDIA_TYPE = "text/csv"

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class CsvResponse(StreamingResponse):
    """Chunks of CSV."""

    media_type = MEDIA_TYPE

    def __init__(self, content: AsyncIterator[str], *, filename: str) -> None:
        super().__init__(content, headers={"Content-Disposition": f'attachment; filename="{filename}"'})


def to_csv(rows: Iterable[Iterable[object]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([_cell(value) for value in row] for row in rows)
    return buffer.getvalue()


def _cell(value: object) -> object:
    """Text that a spreadsheet would run as a formula gets an apostrophe (OWASP, CSV injection)."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value
