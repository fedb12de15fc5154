"""The brokers that a setting chooses from."""

from __future__ import annotations

from botocore.exceptions import BotoCoreError, ClientError
from dramatiq.errors import DramatiqError
from redis.exceptions import RedisError

from impasto_core.queue.redis import RedisQueues
from impasto_core.queue.sqs import SqsQueues
from impasto_core.settings import Settings

Broker = RedisQueues | SqsQueues

BROKER_ERRORS = (DramatiqError, RedisError, BotoCoreError, ClientError)
"""What a broker that is away, or refuses us, makes Dramatiq raise."""


def make_broker(settings: Settings) -> Broker:
    """The broker of this process. It has no middleware: jobs have retries and limits of their own."""
    return SqsQueues(settings) if settings.broker == "sqs" else RedisQueues(settings)
