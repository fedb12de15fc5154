"""What happens inside a job while it runs: a Redis stream a job, for progress and for waking readers.

An entry's id is `<attempt>-<number>`, given by us. Redis refuses an id below the stream's last, so a worker
that has lost its lease cannot write after its successor: the stream is fenced by the same token as the row.
The stream may vanish at any moment; how a job ended is always read from PostgreSQL.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field, TypeAdapter
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from impasto_core.ids import JobId

logger = logging.getLogger(__name__)

FIRST = "0-0"
_KEEP_SECONDS = 24 * 3600
_MAX_ENTRIES = 5000


class Started(BaseModel):
    """A worker began attempt number `attempt`. More than one means that a worker was lost on the way."""

    type: Literal["started"] = "started"
    job_id: JobId
    attempt: int


class Node(BaseModel):
    """A node of the graph began or ended."""

    type: Literal["node"] = "node"
    node: str
    node_type: str
    state: Literal["started", "completed"]


class Step(BaseModel):
    """Denoising step `step` of `total` of one node. `progress` is of the whole job, from 0 to 1."""

    type: Literal["step"] = "step"
    node: str
    step: int
    total: int
    progress: float
    preview: str | None = Field(default=None, description="A small JPEG as a data URL; not on every step.")


class ImageMade(BaseModel):
    """Output number `index` exists. It can be downloaded once the job has succeeded."""

    type: Literal["image"] = "image"
    index: int
    node: str
    width: int
    height: int


class Finished(BaseModel):
    """The job has reached a final state in PostgreSQL. Not shown to callers: wakes those who wait for it."""

    type: Literal["finished"] = "finished"


StreamEvent = Annotated[Started | Node | Step | ImageMade | Finished, Field(discriminator="type")]
_EVENT: TypeAdapter[StreamEvent] = TypeAdapter(StreamEvent)


class Fenced(Exception):
    """A newer attempt writes to this stream."""


class EventWriter:
    """Writes the events of one attempt, in order. Not to be shared between tasks."""

    def __init__(self, redis: Redis, job_id: UUID, attempt: int) -> None:
        self._redis = redis
        self._key = _key(job_id)
        self._attempt = attempt
        self._number = 0

    async def write(self, event: StreamEvent) -> None:
        """Raises Fenced, and redis.RedisError where the server is away."""
        self._number += 1
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.xadd(
                self._key,
                {"event": event.model_dump_json()},
                id=f"{self._attempt}-{self._number}",
                maxlen=_MAX_ENTRIES,
                approximate=True,
            )
            pipe.expire(self._key, _KEEP_SECONDS)
            try:
                await pipe.execute()
            except ResponseError as error:
                if "equal or smaller" in str(error):
                    raise Fenced from error
                raise


async def announce_end(redis: Redis, job_id: UUID, attempt: int) -> None:
    """Wake those who wait for a job that ended without its worker. `attempt` is the job's last.

    Best effort, and written as if by the next attempt, so that a worker that comes back late is fenced.
    """
    try:
        await EventWriter(redis, job_id, attempt + 1).write(Finished())
    except (RedisError, Fenced) as error:
        logger.warning("the end of job %s was not announced: %r", job_id, error)


class EventReader:
    """Reads a job's events from any point on."""

    def __init__(self, redis: Redis, job_id: UUID) -> None:
        self._redis = redis
        self._key = _key(job_id)

    async def read(
        self, after: str, *, wait_seconds: float | None = None
    ) -> Sequence[tuple[str, StreamEvent]]:
        """Entries with ids above `after`, waiting for the first one up to `wait_seconds`."""
        block = None if wait_seconds is None else max(1, int(wait_seconds * 1000))
        found = await self._redis.xread({self._key: after}, count=200, block=block)
        entries = found[0][1] if isinstance(found, list) and found else []
        return [(entry_id.decode(), _EVENT.validate_json(fields[b"event"])) for entry_id, fields in entries]


def _key(job_id: UUID) -> str:
    return f"impasto:job:{job_id}:events"
