"""Both clients, a scripted server, and a clock on which nobody waits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from anyio import to_thread

from impasto import AsyncImpasto, Impasto
from impasto._clock import Clock
from tests.sdk.scripted_server import ScriptedServer


class ImpatientClock(Clock):
    """Sleeping takes no time, but is remembered, and moves the hands."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.chance = 0.0
        self.on_sleep: Callable[[], None] = lambda: None

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return sum(self.slept)

    def random(self) -> float:
        return self.chance

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.on_sleep()

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)


class Sdk:
    """A client, whichever: `await sdk(lambda client: client.jobs.get(job_id))`.

    The synchronous one works in a thread, so that a server in this event loop can answer it.
    """

    def __init__(self, client: Impasto | AsyncImpasto) -> None:
        self.client = client

    async def __call__(self, use: Callable[[Any], Any]) -> Any:
        if isinstance(self.client, Impasto):
            return await to_thread.run_sync(use, self.client)
        result = use(self.client)
        return await result if isinstance(result, Awaitable) else result

    async def all(self, use: Callable[[Any], Any]) -> list[Any]:
        """Everything that `use(client)` iterates over."""
        if isinstance(self.client, Impasto):
            return await to_thread.run_sync(lambda: list(use(self.client)))
        return [item async for item in use(self.client)]

    def with_options(self, **options: Any) -> Sdk:
        return Sdk(self.client.with_options(**options))


COLOURS = [pytest.param(Impasto, id="sync"), pytest.param(AsyncImpasto, id="async")]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer().running() as server:
        yield server


@pytest.fixture
def clock() -> ImpatientClock:
    return ImpatientClock()


@pytest.fixture(params=COLOURS)
async def sdk(
    request: pytest.FixtureRequest, server: ScriptedServer, clock: ImpatientClock
) -> AsyncIterator[Sdk]:
    """Each of the two clients, in front of the scripted server."""
    client = request.param("imp_test_key", base_url=server.url, clock=clock, timeout=10)
    sdk = Sdk(client)
    yield sdk
    await sdk(lambda client: client.close())
