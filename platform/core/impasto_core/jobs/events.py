"""What happens inside a job while it runs: a Redis stream a job, for progress and for waking readers.

An entry's id is `<attempt>-<number>`, given by us. Redis refuses an id below the stream's last, so a worker
that has lost its lease cannot write after its successor: the stream is fenced by the same token as the row.
The stream may vanish at any moment; how a job ended is always read from PostgreSQL.

Every entry is announced on a channel of the stream's own name. The announcement says only that there is
something to read: one that is lost or told twice changes nothing of what readers see.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from impasto_core.ids import JobId
from impasto_core.jobs.tables import Job

logger = logging.getLogger(__name__)

FIRST = "0-0"
STREAMS = "impasto:job:"
"""What the names of all streams begin with."""
_KEEP_SECONDS = 24 * 3600
_MAX_ENTRIES = 5000
PAGE = 50
"""Entries of one stream that are read at once: with previews a few hundred kilobytes."""


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
    """The job has reached a final state in PostgreSQL. Not shown to callers: wakes those who wait for it.

    `organization_id` is no part of the entry: it says who else may want to hear of it, if anyone.
    """

    type: Literal["finished"] = "finished"
    organization_id: UUID | None = Field(default=None, exclude=True)


class Unknown(BaseModel):
    """What a newer release has written. Not shown to callers."""

    type: Literal["unknown"] = "unknown"


StreamEvent = Annotated[Started | Node | Step | ImageMade | Finished, Field(discriminator="type")]
_EVENT: TypeAdapter[StreamEvent] = TypeAdapter(StreamEvent)

Entry = tuple[str, StreamEvent | Unknown]
"""An entry's id and what it says."""


class Fenced(Exception):
    """A newer attempt writes to this stream."""


class EventWriter:
    """Writes the events of one attempt, in order. Not to be shared between tasks."""

    def __init__(self, redis: Redis, job_id: UUID, attempt: int) -> None:
        self._redis = redis
        self._job_id = job_id
        self._key = stream_key(job_id)
        self._attempt = attempt
        self._number = 0

    async def write(self, *events: StreamEvent) -> None:
        """All of them in one round trip. Raises Fenced, and redis.RedisError where the server is away."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for event in events:
                self._number += 1
                pipe.xadd(
                    self._key,
                    {"event": event.model_dump_json()},
                    id=f"{self._attempt}-{self._number}",
                    maxlen=_MAX_ENTRIES,
                    approximate=True,
                )
            pipe.expire(self._key, _KEEP_SECONDS)
            pipe.publish(self._key, "")
            for event in events:
                if isinstance(event, Finished) and event.organization_id:
                    pipe.publish(ends_channel(event.organization_id), str(self._job_id))
            try:
                await pipe.execute()
            except ResponseError as error:
                if "equal or smaller" in str(error):
                    raise Fenced from error
                raise


async def announce_end(redis: Redis, job: Job) -> None:
    """Wake those who wait for a job that ended without its worker.

    Best effort, and written as if by the next attempt, so that a worker that comes back late is fenced.
    """
    try:
        finished = Finished(organization_id=job.organization_id)
        await EventWriter(redis, job.id, job.attempt + 1).write(finished)
    except (RedisError, Fenced) as error:
        logger.warning("the end of job %s was not announced: %r", job.id, error)


class EventReader:
    """Reads a job's events from any point on."""

    def __init__(self, redis: Redis, job_id: UUID) -> None:
        self._redis = redis
        self._job_id = job_id

    async def read(self, after: str) -> Sequence[Entry]:
        """At most PAGE entries with ids above `after`. Raises redis.RedisError."""
        return (await read_streams(self._redis, {self._job_id: after})).get(self._job_id, [])


async def read_streams(redis: Redis, after: Mapping[UUID, str]) -> dict[UUID, list[Entry]]:
    """The same for several jobs in one round trip. Those without new entries are left out."""
    if not after:
        return {}
    found: Any = await redis.xread({stream_key(job_id): id_ for job_id, id_ in after.items()}, count=PAGE)
    streams = found.items() if isinstance(found, dict) else found
    return {job_of(key.decode()): [_decode(*entry) for entry in entries] for key, entries in streams}


async def last_ids(redis: Redis, job_ids: Collection[UUID]) -> dict[UUID, str]:
    """The id of each job's latest entry, FIRST where there is none. Raises redis.RedisError."""
    async with redis.pipeline(transaction=False) as pipe:
        for job_id in job_ids:
            pipe.xrevrange(stream_key(job_id), count=1)
        latest = await pipe.execute()
    return {
        job_id: entries[0][0].decode() if entries else FIRST
        for job_id, entries in zip(job_ids, latest, strict=True)
    }


def order(entry_id: str) -> tuple[int, int]:
    """Ids sort by this, and not as text."""
    attempt, _, number = entry_id.partition("-")
    return int(attempt), int(number)


def stream_key(job_id: UUID) -> str:
    """The name of a job's stream, and of the channel on which its entries are announced."""
    return f"{STREAMS}{job_id}:events"


def ends_channel(organization_id: UUID) -> str:
    """Where the ids of an organization's jobs are told as they end, at most once."""
    return f"impasto:organization:{organization_id}:ends"


def job_of(key: str) -> UUID:
    """The inverse of `stream_key`."""
    return UUID(key.removeprefix(STREAMS).removesuffix(":events"))


def _decode(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Entry:
    try:
        event = _EVENT.validate_json(fields[b"event"])
    except ValidationError:
        return entry_id.decode(), Unknown()
    return entry_id.decode(), event
