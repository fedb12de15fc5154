"""What a process remembers of the database, for as long as it hears of every change.

PostgreSQL tells every process that listens when such a row changes, in the transaction that changes it. The
listening connection is probed all the time; while it is not known to work nothing is remembered, so that a
lost notification cannot keep alive what is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

import asyncpg

from impasto_core.database import Database

logger = logging.getLogger(__name__)

_ALL = "*"  # in place of a name: everything may have changed
_PROBE_SECONDS = 0.4  # twice this stays under the second within which a revoked key must stop
_CAPACITY = 10_000

T = TypeVar("T")


class Memory(Generic[T]):
    """Things by the names under which `channel` tells of their changes. Remembers only within `listening`."""

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self._known: OrderedDict[str, T] = OrderedDict()
        self._listening = False
        self._changes = 0

    def recall(self, name: str) -> T | None:
        return self._known.get(name)

    async def find(self, name: str, read: Callable[[], Awaitable[T | None]]) -> T | None:
        """From memory, or else what `read` finds."""
        known = self._known.get(name)
        if known is not None:
            return known
        changes = self._changes
        found = await read()
        # A change that was announced while we read may not be in what we read: then it is not kept.
        if found is not None and self._listening and changes == self._changes:
            self._known[name] = found
            if len(self._known) > _CAPACITY:
                self._known.popitem(last=False)
        return found

    def remember(self) -> None:
        self._listening = True

    def forget(self, name: str) -> None:
        self._changes += 1
        if name == _ALL:
            self._known.clear()
        else:
            self._known.pop(name, None)

    def forget_all(self) -> None:
        self._listening = False
        self.forget(_ALL)


@asynccontextmanager
async def listening(database: Database, *memories: Memory[Any]) -> AsyncIterator[None]:
    """Keep the memories true until the block ends."""
    task = asyncio.create_task(_listen(database, memories))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _listen(database: Database, memories: tuple[Memory[Any], ...]) -> None:
    by_channel = {memory.channel: memory for memory in memories}

    def on_change(_connection: object, _pid: int, channel: str, name: object) -> None:
        by_channel[channel].forget(str(name))

    while True:
        try:
            connection = await asyncpg.connect(database.asyncpg_dsn, timeout=2)
            try:
                for channel in by_channel:
                    await connection.add_listener(channel, on_change)
                for memory in memories:
                    memory.remember()
                while True:
                    await asyncio.sleep(_PROBE_SECONDS)
                    # Not wait_for: until Python 3.12 it can swallow the cancel that ends this task.
                    async with asyncio.timeout(_PROBE_SECONDS):
                        await connection.execute("SELECT 1")
            finally:
                for memory in memories:
                    memory.forget_all()
                connection.terminate()
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            logger.warning("not listening for changes, nothing is remembered: %r", error)
            await asyncio.sleep(_PROBE_SECONDS)
