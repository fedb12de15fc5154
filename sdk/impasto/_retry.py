"""Whether to try again, and when. Pure: an error in, seconds or None out.

A request that may be repeated is retried whenever the trouble looks passing. Any other is retried only when
it surely did nothing: it never left, or the server says that it did not look at it (429, 408).
"""

from __future__ import annotations

from datetime import datetime

from ._exceptions import APIConnectionError, APIError, ImpastoError, ResponseError

FIRST_DELAY = 0.5
LONGEST_DELAY = 8.0
LONGEST_RETRY_AFTER = 60.0
"""A server that asks for a longer pause than this gets no retry from us: the caller should decide."""


def delay_before_retry(
    error: ImpastoError, *, failures: int, repeatable: bool, now: datetime, random: float
) -> float | None:
    """Seconds to wait after so many failures in a row, or None if trying again would not help or may harm.

    `random` in [0, 1) spreads the delays over the upper half of the interval, so that clients that failed
    together do not return together.
    """
    if not _passing(error) or not (repeatable or _did_nothing(error)):
        return None
    asked = error.retry_after(now) if isinstance(error, ResponseError) else None
    if asked is not None:
        return asked + 0.1 * random if asked <= LONGEST_RETRY_AFTER else None
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (failures - 1)) * (0.5 + 0.5 * random)


def _passing(error: ImpastoError) -> bool:
    if isinstance(error, ResponseError):
        in_flight = isinstance(error, APIError) and error.code == "idempotency-in-flight"
        return in_flight or error.status in (408, 429) or error.status >= 500
    return isinstance(error, APIConnectionError)


def _did_nothing(error: ImpastoError) -> bool:
    if isinstance(error, ResponseError):
        return error.status in (408, 429)
    return isinstance(error, APIConnectionError) and not error.sent
