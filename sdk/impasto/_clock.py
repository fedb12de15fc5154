"""Time and chance, in one place, so that a test of the retries needs neither patience nor luck."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime


class Clock:
    """What the clients ask for the time, for a pause and for jitter."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def random(self) -> float:
        """A number in [0, 1)."""
        return random.random()  # noqa: S311 (jitter, not a secret)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def sleep_async(self, seconds: float) -> None:
        from anyio import sleep  # comes with httpx; works under asyncio and trio alike

        await sleep(seconds)


class Deadline:
    """A moment in the future, or never."""

    def __init__(self, clock: Clock, seconds: float | None) -> None:
        self.seconds = seconds
        self._clock = clock
        self._end = None if seconds is None else clock.monotonic() + seconds

    @property
    def passed(self) -> bool:
        return self.within(1.0) <= 0

    def within(self, seconds: float) -> float:
        """`seconds`, or what is left until the deadline if that is less."""
        return seconds if self._end is None else min(seconds, max(0.0, self._end - self._clock.monotonic()))
