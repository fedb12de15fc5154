"""One place in each process that hears what happens inside jobs, for however many who follow them.

One Redis connection hears that a followed job's stream has something new. It is then read once, for all its
followers, and its latest part is kept for them; who is further behind reads by himself. So what a follower
sees depends on nothing but the stream and the last id he has seen. PostgreSQL is asked every few seconds, in
one transaction for all, how the jobs are doing of which nothing was heard.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import defaultdict, deque
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Hashable,
    Iterator,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, cast
from uuid import UUID

from fastapi.sse import format_sse_event
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from impasto_api.jobs import repository
from impasto_api.jobs.places import Places, QueuePlace
from impasto_core.database import DATABASE_ERRORS, Database, act_for
from impasto_core.jobs.events import (
    FIRST,
    PAGE,
    STREAMS,
    Entry,
    EventReader,
    ends_channel,
    job_of,
    last_ids,
    order,
    read_streams,
    stream_key,
)
from impasto_core.jobs.tables import JobStatus

logger = logging.getLogger(__name__)

T = TypeVar("T")

ASK_SECONDS = 2.0
"""How long to trust a silent stream before asking PostgreSQL."""

RETRY_SECONDS = 1.0
_PROBE_SECONDS = 10.0
_KEPT_BYTES = 32_768
_AT_ONCE = 100
"""Streams that are read in one round trip."""

_LIFELINE = "impasto:lifeline"
"""A channel on which nobody speaks: a connection must listen to something."""


class HubClosed(Exception):
    """The process is about to stop. Streams end, so that their clients go on elsewhere."""


@dataclass(frozen=True)
class Message:
    """An event as every follower gets it. `data` is JSON."""

    id: str
    type: str
    data: str

    @classmethod
    def of(cls, entry: Entry) -> Message:
        entry_id, event = entry
        return cls(entry_id, event.type, event.model_dump_json(exclude_none=True))

    @cached_property
    def fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = json.loads(self.data)
        return fields

    @cached_property
    def frame(self) -> bytes:
        """As a server-sent event."""
        return format_sse_event(event=self.type, id=self.id, data_str=self.data)


class Topic:
    """What is known of a job that someone follows.

    `place` is its place in the queue, where it has one. `ended` says that it has ended and that all of its
    stream has been read.
    """

    def __init__(self, organization_id: UUID, job_id: UUID, *, ended: bool = False) -> None:
        self.organization_id = organization_id
        self.job_id = job_id
        self.followers = 0
        self.place: QueuePlace | None = None
        self.ended = ended
        self.news = asyncio.Event()
        """Set once, when something has changed. Then there is another one."""
        self.heard_at = 0.0
        self.position: str | None = None
        """The last id that was read."""
        self._kept: deque[Message] = deque()
        self._kept_bytes = 0
        self._kept_after = order(FIRST)

    def start(self, last_id: str) -> None:
        """Read on from here: what came before is read by those who want it."""
        self.position, self._kept_after = last_id, order(last_id)
        self.tell()

    def add(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            message = Message.of(entry)
            self._kept.append(message)
            self._kept_bytes += len(message.data)
            self.position = message.id
        while self._kept_bytes > _KEPT_BYTES:
            forgotten = self._kept.popleft()
            self._kept_bytes -= len(forgotten.data)
            self._kept_after = order(forgotten.id)
        self.heard_at = _now()
        self.tell()

    def tell(self) -> None:
        self.news.set()
        self.news = asyncio.Event()

    def kept_after(self, entry_id: str) -> list[Message] | None:
        """The messages after this id, or None where they are not known to be all."""
        after = order(entry_id)
        if self.position is None or after < self._kept_after:
            return None
        return [message for message in self._kept if order(message.id) > after]


class EventHub:
    """Use within `running()`, on one event loop."""

    def __init__(self, redis: Redis, listener: Redis, database: Database, places: Places) -> None:
        """`listener` has one connection, which never repeats a command by itself."""
        self._redis = redis
        self._listener = listener
        self._database = database
        self._places = places
        self._topics: dict[UUID, Topic] = {}
        self._ends: dict[str, Callable[[UUID], None]] = {}
        self._channels_changed = asyncio.Event()
        self._unread: set[UUID] = set()
        self._something_unread = asyncio.Event()
        self._one_reads = asyncio.Lock()
        self._away = False
        self._making: dict[Hashable, asyncio.Task[Any]] = {}
        self.closed = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        works = (self._listen, self._read, self._ask_regularly)
        tasks = [asyncio.create_task(self._again_and_again(work)) for work in works]
        try:
            yield
        finally:
            self.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        """End all that follow."""
        self.closed = True
        for topic in self._topics.values():
            topic.tell()

    @contextmanager
    def following(self, organization_id: UUID, job_id: UUID, *, ended: bool) -> Iterator[Topic]:
        """What is heard of the job within the block. Of one that has ended there is nothing more to hear."""
        if ended:
            yield Topic(organization_id, job_id, ended=True)
            return
        topic = self._topics.get(job_id)
        if topic is None:
            topic = self._topics[job_id] = Topic(organization_id, job_id)
            self._channels_changed.set()
        topic.followers += 1
        try:
            yield topic
        finally:
            topic.followers -= 1
            if not topic.followers:
                del self._topics[job_id]
                self._channels_changed.set()

    def hear_ends(self, organization_id: UUID, tell: Callable[[UUID], None]) -> None:
        """From now on tell the ids of the organization's jobs as they end, at most once."""
        self._ends[ends_channel(organization_id)] = tell
        self._channels_changed.set()

    def ignore_ends(self, organization_id: UUID) -> None:
        self._ends.pop(ends_channel(organization_id), None)
        self._channels_changed.set()

    async def messages(self, topic: Topic, after: str) -> list[Message]:
        """What its stream has after this id, or the beginning of it. Nothing where Redis is away."""
        if (kept := topic.kept_after(after)) is not None:
            return kept
        try:
            return [Message.of(entry) for entry in await EventReader(self._redis, topic.job_id).read(after)]
        except RedisError as error:
            self._went_away(error)
            return []

    async def once(self, key: Hashable, make: Callable[[], Coroutine[None, None, T]]) -> T:
        """What `make` returns, made once for all who ask at the same time."""
        task = self._making.get(key)
        if task is None:
            task = self._making[key] = asyncio.create_task(make())
            task.add_done_callback(lambda _: self._making.pop(key))
        return cast(T, await asyncio.shield(task))

    async def _again_and_again(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except* (RedisError, OSError) as errors:
                self._went_away(errors.exceptions[0])
            except* Exception:
                logger.exception("streams may be late: begins anew")
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self) -> None:
        """Hear of what is new in the streams that are followed."""
        async with self._listener.pubsub() as pubsub, asyncio.TaskGroup() as tasks:
            await pubsub.subscribe(_LIFELINE)
            tasks.create_task(self._subscribe(pubsub))
            tasks.create_task(self._hear(pubsub))

    async def _subscribe(self, pubsub: PubSub) -> None:
        subscribed = {_LIFELINE}
        while True:
            self._channels_changed.clear()
            wanted = {_LIFELINE, *map(stream_key, self._topics), *self._ends}
            if new := wanted - subscribed:
                await pubsub.subscribe(*new)
            if old := subscribed - wanted:
                await pubsub.unsubscribe(*old)
            subscribed = wanted
            await self._channels_changed.wait()

    async def _hear(self, pubsub: PubSub) -> None:
        silent = False
        while True:
            message = await pubsub.get_message(timeout=_PROBE_SECONDS)
            if message is None:
                if silent:
                    raise RedisError("the connection is dead")
                silent = True
                await pubsub.ping()
                continue
            silent = False
            self._is_back()
            if message["type"] in ("message", "subscribe"):
                self._heard(message["channel"].decode(), message["data"])

    def _heard(self, channel: str, data: bytes | int) -> None:
        """An announcement, or the beginning of a subscription: what came before was announced to nobody."""
        if tell := self._ends.get(channel):
            if isinstance(data, bytes):
                tell(UUID(data.decode()))
        elif channel.startswith(STREAMS):
            self._must_read([job_of(channel)])

    def _must_read(self, job_ids: Collection[UUID]) -> None:
        self._unread.update(job_ids)
        self._something_unread.set()

    async def _read(self) -> None:
        while True:
            await self._something_unread.wait()
            self._something_unread.clear()
            unread, self._unread = self._unread, set()
            await self._read_topics([self._topics[id_] for id_ in unread if id_ in self._topics])

    async def _read_topics(self, topics: Sequence[Topic]) -> None:
        """Raises redis.RedisError. What is left unread then is read with everything else, soon."""
        async with self._one_reads:
            for begin in range(0, len(topics), _AT_ONCE):
                await self._read_some(topics[begin : begin + _AT_ONCE])

    async def _read_some(self, topics: Sequence[Topic]) -> None:
        positions = {topic.job_id: topic.position for topic in topics if topic.position is not None}
        starts = await last_ids(self._redis, [topic.job_id for topic in topics if topic.position is None])
        found = await read_streams(self._redis, positions)
        self._is_back()
        for topic in topics:
            if topic.job_id in starts:
                topic.start(starts[topic.job_id])
            elif entries := found.get(topic.job_id):
                topic.add(entries)
        self._must_read([job_id for job_id, entries in found.items() if len(entries) == PAGE])

    async def _ask_regularly(self) -> None:
        pause = ASK_SECONDS
        while True:
            await asyncio.sleep(pause)
            began = _now()
            self._must_read(self._topics)  # an announcement may have been lost
            quiet = [topic for topic in self._topics.values() if topic.heard_at < began - ASK_SECONDS]
            await self._ask([topic for topic in quiet if not topic.ended])
            pause = max(ASK_SECONDS, 3 * (_now() - began))

    async def _ask(self, topics: Sequence[Topic]) -> None:
        """Ask PostgreSQL how these jobs are doing."""
        began = _now()
        try:
            statuses = await self._statuses(topics)
            queued = [job_id for job_id, status in statuses.items() if status == JobStatus.QUEUED]
            places = await self._places.of_all(queued) if queued else {}
        except DATABASE_ERRORS:
            logger.warning("cannot see how %s jobs are doing", len(topics), exc_info=True)
            return
        for topic in topics:
            place = places.get(topic.job_id)
            if place != topic.place and topic.heard_at < began:  # else it may have started by now
                topic.place = place
                topic.tell()
        await self._end([topic for topic in topics if _has_ended(statuses.get(topic.job_id))])

    async def _statuses(self, topics: Sequence[Topic]) -> dict[UUID, JobStatus]:
        """One question for each organization, since row-level security shows one at a time."""
        of: defaultdict[UUID, list[UUID]] = defaultdict(list)
        for topic in topics:
            of[topic.organization_id].append(topic.job_id)
        statuses: dict[UUID, JobStatus] = {}
        if of:
            async with self._database.session() as session:
                for organization_id, job_ids in of.items():
                    await act_for(session, organization_id)
                    statuses |= await repository.get_statuses(session, job_ids)
        return statuses

    async def _end(self, topics: Sequence[Topic]) -> None:
        """These jobs have ended. One more look at their streams: what came before is not lost."""
        unread: Sequence[Topic] = topics
        try:
            while unread:
                positions = [topic.position for topic in unread]
                await self._read_topics(unread)
                unread = [
                    topic
                    for topic, position in zip(unread, positions, strict=True)
                    if position is not None and topic.position != position
                ]
        except RedisError as error:
            self._went_away(error)
        for topic in topics:
            topic.ended = True
            topic.tell()

    def _went_away(self, error: Exception) -> None:
        if not self._away:
            self._away = True
            logger.warning("Redis is away: streams show no steps until it is back: %r", error)

    def _is_back(self) -> None:
        if self._away:
            self._away = False
            logger.info("Redis is back and streams show steps again")
            for topic in self._topics.values():
                topic.tell()  # who wanted to read for himself may do so now


def _has_ended(status: JobStatus | None) -> bool:
    return status is None or status.is_final


def _now() -> float:
    return asyncio.get_running_loop().time()
