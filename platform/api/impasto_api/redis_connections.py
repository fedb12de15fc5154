"""Redis connections that say so when they are lost, on uvloop too.

There, a write to a connection that has just closed raises a RuntimeError
(https://github.com/MagicStack/uvloop/issues/506), which redis-py and its callers do not know: without this, a
restart of Redis is a 500 here and there.
"""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as ConnectionLost


class _SaysWhenLost:
    async def send_packed_command(self, *arguments: Any, **options: Any) -> None:
        try:
            await super().send_packed_command(*arguments, **options)  # type: ignore[misc]
        except RuntimeError as error:
            raise ConnectionLost(str(error)) from error


def saying_when_lost(redis: Redis) -> Redis:
    """The same client. Call it before the first command."""
    pool = redis.connection_pool
    plain = pool.connection_class
    pool.connection_class = type(plain.__name__, (_SaysWhenLost, plain), {})
    return redis
