"""What usage is asked for: which days, grouped by what, from where on."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Annotated, Literal

from fastapi import Depends, Query
from pydantic import BeforeValidator, StringConstraints

from impasto_api.problems import ValidationFailed
from impasto_api.services import ServicesDep

MAX_DAYS = 366
_DEFAULT_DAYS = 30

Dimension = Literal["day", "model", "api_key"]
Mark = tuple[str, str, str]
"""Day, model and key of a group, as text; empty where it has none."""


def _split(given: object) -> object:
    """`a,b` as well as `a` and `b`."""
    if not isinstance(given, list):
        return given
    return [part.strip() for text in given for part in str(text).split(",")]


def _written_out(day: object) -> object:
    if isinstance(day, str) and len(day) == len("2026-11-22") and day.count("-") == 2:
        return day
    raise ValueError("write it out, like 2026-11-22")  # pydantic would take a number of seconds


Day = Annotated[date, BeforeValidator(_written_out)]


@dataclass(frozen=True)
class UsageQuery:
    """Jobs that ended from `start` to `end`, both included; groups after `after` in descending order."""

    start: date
    end: date
    group_by: frozenset[Dimension]
    after: Mark | None

    def going_on(self, mark: Mark) -> UsageQuery:
        return replace(self, after=mark)


async def _usage_query(
    services: ServicesDep,
    start: Annotated[
        Day | None, Query(description="First day, in UTC; by default 29 days before the last.")
    ] = None,
    end: Annotated[Day | None, Query(description="Last day, in UTC; by default today.")] = None,
    group_by: Annotated[
        list[Dimension],
        BeforeValidator(_split),
        Query(max_length=3, description="One or more of `day`, `model` and `api_key`, separated by commas."),
    ] = ["day"],  # noqa: B006  # FastAPI copies it
    cursor: Annotated[
        Annotated[str, StringConstraints(max_length=300)] | None,
        Query(description="`next_cursor` of the page before."),
    ] = None,
) -> UsageQuery:
    end = end or services.clock().date()
    start = start or end - min(timedelta(days=_DEFAULT_DAYS - 1), end - date.min)
    if start > end:
        raise ValidationFailed.of("query", "start", "after_end", "The first day must not lie after the last.")
    if end - start >= timedelta(days=MAX_DAYS):
        raise ValidationFailed.of("query", "start", "too_long", f"Ask for {MAX_DAYS} days at most.")
    return UsageQuery(start, end, frozenset(group_by), decode(cursor) if cursor else None)


UsageQueryDep = Annotated[UsageQuery, Depends(_usage_query)]


def encode(mark: Mark) -> str:
    return base64.urlsafe_b64encode(json.dumps(mark).encode()).decode().rstrip("=")


def decode(cursor: str) -> Mark:
    """Raises ValidationFailed."""
    try:
        day, model, api_key = json.loads(base64.urlsafe_b64decode(cursor + "=="))
    except (ValueError, TypeError, binascii.Error, RecursionError):
        day = model = api_key = None
    if not (isinstance(day, str) and isinstance(model, str) and isinstance(api_key, str)) or "\0" in model:
        raise ValidationFailed.of(
            "query", "cursor", "invalid", "Not a cursor: pass next_cursor of the page before, unchanged."
        )
    return day, model, api_key
