"""Amazon SQS as broker: dramatiq-sqs, mended where it would leave a worker late, or deaf for good.

A message that a worker has taken is hidden from the others for longer than a job may run. So a wake-up is
shown again only where a worker was lost with it, and finds nothing to do: the sweeper has sent another since.
"""

from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from dramatiq import Message, MessageProxy
from dramatiq.errors import ConnectionClosed
from dramatiq_sqs.broker import MAX_VISIBILITY_TIMEOUT_SECONDS, SQSBroker, SQSConsumer  # type: ignore[import-untyped]

from impasto_core.settings import Settings

logger = logging.getLogger(__name__)

LONG_POLL_SECONDS = 2
"""One request of an idle worker lasts so long, and a worker that is told to end waits for it. 20 at most."""

RETENTION_SECONDS = 3600
"""A wake-up that nobody takes for so long is forgotten. The sweeper sends others for jobs that still wait."""

HIDDEN_LONGER_SECONDS = 60
"""A message is hidden for so much longer than a job may run: it has models to load and images to upload."""

MAX_BATCH = 10
"""Messages in one request: a quota of SQS."""


class SqsQueues(SQSBroker):  # type: ignore[misc]  # its types are Any, as are those of its base
    """One queue a pool, `<prefix>_<pool>`, which is made where it is missing and we may."""

    count_settles_seconds = 60.0
    """What it counts may be as old.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html
    """

    def __init__(self, settings: Settings) -> None:
        key_id, secret = settings.sqs_access_key_id, settings.sqs_secret_access_key
        hidden = int(settings.job_time_limit_seconds) + HIDDEN_LONGER_SECONDS
        super().__init__(
            namespace=settings.sqs_queue_prefix,
            middleware=[],
            retention=RETENTION_SECONDS,
            visibility_timeout=min(hidden, MAX_VISIBILITY_TIMEOUT_SECONDS),
            endpoint_url=settings.sqs_endpoint_url,
            region_name=settings.sqs_region,
            aws_access_key_id=key_id.get_secret_value() if key_id else None,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            config=Config(
                connect_timeout=2,
                read_timeout=LONG_POLL_SECONDS + 3,
                retries={"total_max_attempts": 1},  # the sweeper tries again, and nobody waits for it
            ),
        )

    @property
    def consumer_class(self) -> type[_Consumer]:
        return _Consumer

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 0) -> _Consumer:
        """Takes messages. `timeout` is for brokers that are asked again and again."""
        with _as_dramatiq_calls_it():
            self._look_up(queue_name)
            consumer: _Consumer = super().consume(queue_name, prefetch, LONG_POLL_SECONDS * 1000)
        return consumer

    def enqueue_all(self, queue_name: str, messages: Sequence[Message[Any]]) -> None:
        """Ten in a request, since each takes 10 milliseconds or more."""
        for first in range(0, len(messages), MAX_BATCH):
            entries = [
                {"Id": str(number), "MessageBody": b64encode(message.encode()).decode()}
                for number, message in enumerate(messages[first : first + MAX_BATCH])
            ]
            if failed := self._call("send_message_batch", queue_name, Entries=entries).get("Failed"):
                raise _connection_error(f"{len(failed)} of {len(entries)} messages refused: {failed[0]}")

    def waiting(self, queue_name: str) -> int:
        """About how many messages nobody has taken yet: see `count_settles_seconds`."""
        name = "ApproximateNumberOfMessages"
        found = self._call("get_queue_attributes", queue_name, AttributeNames=[name])
        return int(found["Attributes"][name])

    def _call(self, operation: str, queue_name: str, **parameters: Any) -> Any:
        """Any number of threads may: boto3's client is safe, and a queue stands for its URL only."""
        client = self.sqs.meta.client
        call = getattr(client, operation)
        queue = self.queues.get(queue_name) or self._look_up(queue_name)
        try:
            return call(QueueUrl=queue.url, **parameters)
        except client.exceptions.QueueDoesNotExist:
            return call(QueueUrl=self._look_up(queue_name).url, **parameters)

    def _look_up(self, queue_name: str) -> Any:
        """Also where it is known: it may have been deleted since."""
        name = f"{self.namespace}_{queue_name}"
        queue = self._get_or_create_sqs_queue(name, message_retention_period=self.retention)
        self.queues[queue_name] = queue
        return queue


class _Consumer(SQSConsumer):  # type: ignore[misc]
    def __next__(self) -> MessageProxy | None:
        # The pause after a miss would double with every one, up to the length of a long poll; and while a job
        # runs, all are misses.
        self.misses = 0
        with _as_dramatiq_calls_it():
            message: MessageProxy | None = super().__next__()
        return message

    def ack(self, message: MessageProxy) -> None:
        try:
            super().ack(message)
        except (BotoCoreError, ClientError) as error:
            # Shown again, it finds nothing to do. But still counted as one at work, it would be the last one.
            self.message_refc -= 1
            logger.warning("a wake-up could not be deleted, and will be shown again: %s", error)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        with _as_dramatiq_calls_it():
            super().requeue(messages)


@contextmanager
def _as_dramatiq_calls_it() -> Iterator[None]:
    """Then it tries again in some seconds, with a line in the log and no traceback."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise _connection_error(str(error)) from error


def _connection_error(message: str) -> ConnectionClosed:
    return ConnectionClosed(message)  # type: ignore[no-untyped-call]
