"""How an attempt is told to stop, whoever tells it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any, TypeVar

T = TypeVar("T")


class StopReason(Enum):
    CANCELED = "its owner canceled it"
    TIME_LIMIT = "it ran for too long"
    RUN_LIMIT = "it ran for longer than its owner wants"
    DEADLINE = "its deadline has passed"
    LEASE_LOST = "another attempt has taken over"
    SHUTDOWN = "this worker is shutting down"


class Stopped(Exception):
    """The attempt is to end, for `reason`."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Stop:
    """The brake of one attempt. The first reason to pull it counts.

    Belongs to the event loop; only `flag` is for other threads.
    """

    def __init__(self) -> None:
        self.flag = threading.Event()
        self.reason: StopReason | None = None
        self._pulled = asyncio.Event()

    def pull(self, reason: StopReason) -> None:
        if self.reason is None:
            self.reason = reason
            self.flag.set()
            self._pulled.set()

    def check(self) -> None:
        """Raises Stopped."""
        if self.reason is not None:
            raise Stopped(self.reason)

    async def sleep(self, seconds: float) -> None:
        """Raises Stopped, early."""
        await self.race(asyncio.sleep(seconds))

    async def race(
        self, work: Coroutine[Any, Any, T], *, patience: Callable[[StopReason], float] = lambda reason: 0
    ) -> T:
        """What `work` returns. Raises Stopped where the brake is pulled before: when the work ends, and at
        the latest after `patience` seconds, which cancels it.
        """
        task = asyncio.create_task(work)
        task.add_done_callback(_acknowledge)
        pulled = asyncio.create_task(self._pulled.wait())
        try:
            await asyncio.wait({task, pulled}, return_when=asyncio.FIRST_COMPLETED)
            if self.reason is not None and not task.done():
                await asyncio.wait({task}, timeout=patience(self.reason))
            self.check()
            return task.result()
        finally:
            pulled.cancel()
            task.cancel()


def _acknowledge(task: asyncio.Task[Any]) -> None:
    """The error of a task that we no longer wait for is nobody's news."""
    if not task.cancelled():
        task.exception()
