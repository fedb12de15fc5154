"""Redis going away under uvloop, on which the API runs in life and the other tests do not."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
import uvloop
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionLost
from sqlalchemy import make_url

from impasto_api.redis_connections import saying_when_lost
from impasto_ctl.embedded import EmbeddedServers
from tests.support.proxy import Proxy


def test_a_command_on_a_connection_that_has_just_closed_says_that_it_was_lost(
    servers: EmbeddedServers,
) -> None:
    async def lose_connections() -> None:
        url = make_url(servers.redis_url)
        async with AsyncExitStack() as stack:
            proxy = Proxy(lambda: url.port or 6379)
            stack.push_async_callback(proxy.close)
            await proxy.open()
            through = url.set(port=proxy.port).render_as_string(hide_password=False)
            redis = saying_when_lost(
                Redis.from_url(through, retry=Retry(NoBackoff(), 0), single_connection_client=True)
            )
            stack.push_async_callback(redis.aclose)
            assert await redis.ping()
            assert redis.connection is not None
            redis.connection._writer.transport.abort()
            await asyncio.sleep(0)
            with pytest.raises(ConnectionLost):
                await redis.ping()
            assert await redis.ping(), "the next one is another"

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(lose_connections())
