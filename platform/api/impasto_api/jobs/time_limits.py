"""Until when a job may wait and run: the header Cancel-After, and what its body says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Depends, Header

from impasto_api.jobs.schemas import JobTerms
from impasto_api.problems import ValidationFailed
from impasto_api.services import Services

_DURATION = re.compile(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s?)?")


async def cancel_after(
    header: Annotated[
        str | None,
        Header(
            alias="Cancel-After",
            description="The job is canceled where it has not ended by then: seconds, or hours, minutes and"
            " seconds, as in `90`, `90s`, `5m` or `1h30m`. The same as `deadline`, reckoned from now; the"
            " earlier of both holds.",
            examples=["5m"],
        ),
    ] = None,
) -> timedelta | None:
    """As Replicate's header of the same name."""
    if header is None:
        return None
    found = _DURATION.fullmatch(header.strip())
    if found is None or not any(found.groups()):
        detail = "Write seconds, or hours, minutes and seconds: 90, 90s, 5m or 1h30m."
        raise ValidationFailed.of("header", "Cancel-After", "invalid", detail)
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    after = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    if not after:
        raise ValidationFailed.of("header", "Cancel-After", "too_small", "It must be 1 second or more.")
    return after


CancelAfter = Annotated[timedelta | None, Depends(cancel_after)]


@dataclass(frozen=True)
class TimeLimits:
    deadline: datetime
    queue_deadline: datetime | None
    max_run_seconds: int | None


def time_limits(services: Services, terms: JobTerms, after: timedelta | None, now: datetime) -> TimeLimits:
    """Raises ValidationFailed for those that no job could keep, or that exceed the platform's own."""
    total = timedelta(seconds=services.settings.job_total_limit_seconds)
    latest = now + total
    if after is not None and after > total:
        detail = f"It can be {total.total_seconds():g} seconds at most."
        raise ValidationFailed.of("header", "Cancel-After", "too_large", detail)
    if terms.deadline is not None and terms.deadline <= now:
        raise ValidationFailed.of("body", "deadline", "in_the_past", "It has passed already.")
    if terms.deadline is not None and terms.deadline > latest:
        detail = f"It can be {total.total_seconds():g} seconds from now at most."
        raise ValidationFailed.of("body", "deadline", "too_late", detail)
    wait = terms.max_queue_seconds
    return TimeLimits(
        deadline=min(latest, terms.deadline or latest, now + (after or total)),
        queue_deadline=now + timedelta(seconds=wait) if wait is not None else None,
        max_run_seconds=terms.max_run_seconds,
    )
