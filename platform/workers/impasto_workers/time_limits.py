"""When an attempt is to stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from impasto_core.jobs.lifecycle import Lease
from impasto_workers.stop import Stop, StopReason


@dataclass(frozen=True)
class Held:
    """A job in this worker's hands, and when it must let go of it: `ends_at`, by `time.monotonic()`."""

    lease: Lease
    reason: StopReason
    ends_at: float


Hold = Callable[[Held | None], None]
"""Told whenever that changes. None: the hands are empty."""


class TimeLimits:
    """Pulls an attempt's brake when one of its limits is over.

    Native code may hold the interpreter for ever, and then nobody here pulls anything: so the process's
    watchdog hears of the nearest limit as well, by `hold`.
    """

    def __init__(self, lease: Lease, stop: Stop, hold: Hold) -> None:
        self._lease = lease
        self._stop = stop
        self._hold = hold
        self._ends: dict[StopReason, float] = {}

    @contextmanager
    def limit(self, reason: StopReason, seconds: float) -> Iterator[None]:
        """What is done in this block is stopped for `reason` after so many seconds."""
        alarm = asyncio.get_running_loop().call_later(seconds, self._stop.pull, reason)
        self._ends[reason] = time.monotonic() + seconds
        self._tell()
        try:
            yield
        finally:
            alarm.cancel()
            del self._ends[reason]
            self._tell()

    def _tell(self) -> None:
        nearest = min(self._ends, key=self._ends.__getitem__, default=None)
        self._hold(Held(self._lease, nearest, self._ends[nearest]) if nearest else None)
