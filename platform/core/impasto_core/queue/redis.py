"""Redis as broker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker
from redis import Redis

from impasto_core.settings import Settings


class RedisQueues(RedisBroker):
    count_settles_seconds = 0.0
    """What it counts is so."""

    def __init__(self, settings: Settings) -> None:
        # Given a URL, RedisBroker would make the client itself and forget the timeouts.
        client = Redis.from_url(
            settings.redis_url.get_secret_value(), socket_connect_timeout=2, socket_timeout=3
        )
        super().__init__(client=client, namespace="impasto:queue", middleware=[])  # type: ignore[no-untyped-call]

    def enqueue_all(self, queue_name: str, messages: Sequence[Message[Any]]) -> None:
        for message in messages:
            self.enqueue(message)

    def waiting(self, queue_name: str) -> int:
        """How many messages nobody has taken yet."""
        count: int = self.client.llen(f"{self.namespace}:{queue_name}")
        return count
