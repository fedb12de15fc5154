"""When a delivery that failed is tried again: the schedule that Standard Webhooks 1.0.0 proposes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

DELAYS = (
    timedelta(0),
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""Before each attempt, since the one before: ten of them, over three days and three hours."""

JITTER = 0.1
"""A retry comes up to this part of its delay later, so that what failed together does not come together."""

LONGEST_RETRY_AFTER = timedelta(hours=24)
"""What a receiver may ask for; who asks for more is asked again then."""


def next_delay(failures: int, retry_after: timedelta | None, random: Callable[[], float]) -> timedelta | None:
    """How long to wait after that many failures, at least as long as the receiver asks; None is for ever."""
    if failures >= len(DELAYS):
        return None
    asked_for = min(retry_after or timedelta(0), LONGEST_RETRY_AFTER)
    return max(DELAYS[failures], asked_for) * (1 + JITTER * random())


def parse_retry_after(value: str, now: datetime) -> timedelta | None:
    """RFC 9110, section 10.2.3: seconds or a date. None where it is neither."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return timedelta(seconds=int(value[:9]))
    try:
        return max(parsedate_to_datetime(value) - now, timedelta(0))
    except (ValueError, TypeError, OverflowError):  # a date without a zone cannot be compared
        return None
