"""A job's events, followed across dropped connections."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Concatenate, Generic, ParamSpec, Self, cast

from . import _request as ask
from ._clock import Deadline
from ._core import Core, Origin
from ._exceptions import APIConnectionError, APIError, WaitTimeout
from ._io import Body
from ._sse import ServerSentEvent, SSEParser
from ._twin import Async, Colour, Sync, Twin, run
from .types._base import Result
from .types.event import Canceled, Event, Failed, ImageEvent, Node, Queued, Started, Step, Succeeded

P = ParamSpec("P")

IDLE_TIMEOUT = 45.0
"""Seconds without a byte, not even a heartbeat, after which a connection is taken for dead."""
MAX_FAILURES = 6
"""Connections in a row that may bring nothing (about half a minute) before we give up."""

_TYPES: dict[str, type[Result]] = {
    "queued": Queued,
    "started": Started,
    "node": Node,
    "step": Step,
    "image": ImageEvent,
    "succeeded": Succeeded,
    "failed": Failed,
    "canceled": Canceled,
}


class Events(Generic[Colour]):
    """The events of one job, each exactly once: a dropped connection is resumed after the last one.

    Raises from `next`:
        APIError: the API refuses the stream.
        APIConnectionError: the connection broke, and could not be had again in `MAX_FAILURES` tries.
        WaitTimeout: `deadline` has passed.
    """

    def __init__(
        self, core: Core, job_id: str, *, last_event_id: str | None = None, deadline: Deadline | None = None
    ) -> None:
        self._core = core
        self._job_id = job_id
        self._last_event_id = last_event_id
        self._deadline = deadline or Deadline(core.io.clock, None)
        self._body: Body | None = None
        self._origin: Origin | None = None
        self._parser = SSEParser()
        self._arrived: deque[ServerSentEvent] = deque()
        self._failures = 0
        self._ended = False

    async def next(self) -> Event[Colour] | None:
        """The next event, or None after the last one."""
        while not self._ended:
            if self._arrived:
                if event := await self._take():
                    return event
            else:
                await self._read()
        return None

    async def close(self) -> None:
        self._ended = True
        await self._disconnect()

    async def _take(self) -> Event[Colour] | None:
        """The oldest event that has arrived, unless it is of a type that this version does not know."""
        raw = self._arrived.popleft()
        self._last_event_id = raw.id or self._last_event_id
        if raw.event not in _TYPES or self._origin is None:
            return None
        event = self._origin.read(_TYPES[raw.event], {**_parse(raw.data), "id": raw.id})
        if isinstance(event, Succeeded | Failed | Canceled):
            await self.close()
        return cast("Event[Colour]", event)

    async def _read(self) -> None:
        """Bring in what comes next, through a new connection if need be."""
        if self._deadline.passed:
            raise WaitTimeout(self._job_id, self._deadline.seconds or 0)
        try:
            body = self._body or await self._connect()
            if body.response.status_code == 204:
                await self.close()  # the API has nothing to add to what we saw
                return
            chunk = await body.chunk()
            if not chunk:
                raise APIConnectionError("the event stream ended before the job did")
        except (APIError, APIConnectionError) as error:
            await self._recover(error)
        else:
            self._arrived.extend(self._parser.feed(chunk))
            if self._arrived:
                self._failures = 0

    async def _connect(self) -> Body:
        headers = {"accept": "text/event-stream", "cache-control": "no-store"}
        if self._last_event_id:
            headers["last-event-id"] = self._last_event_id
        request = ask.get(ask.path("jobs", self._job_id, "events"), type(None), headers=headers)
        # A deadline that falls into a silence ends it; otherwise a heartbeat wakes us to look at the clock.
        self._body = await self._core.open(request, read_timeout=self._deadline.within(IDLE_TIMEOUT))
        self._origin = Origin(self._core, self._body.response)
        self._parser = SSEParser()
        return self._body

    async def _recover(self, error: APIError | APIConnectionError) -> None:
        """Wait before the next connection, or raise if another would not help."""
        await self._disconnect()
        self._failures += 1
        delay = self._core.delay(error, self._failures) if self._failures < MAX_FAILURES else None
        if delay is None:
            raise error
        await self._core.io.sleep(self._deadline.within(max(delay, self._parser.retry or 0)))

    async def _disconnect(self) -> None:
        body, self._body = self._body, None
        if body:
            await body.close()


def _parse(data: str) -> dict[str, Any]:
    """The fields of an event; none if it is no JSON object, so that those it should have are missed."""
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


class EventStream:
    """Iterate over it once. It closes by itself at the end, at `break`, and as a context manager."""

    def __init__(self, events: Events[Sync]) -> None:
        self._events = events

    def __iter__(self) -> Iterator[Event]:
        try:
            while event := run(self._events.next()):
                yield event
        finally:
            self.close()

    def close(self) -> None:
        run(self._events.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class AsyncEventStream:
    """Iterate over it once, with `async for`. It closes by itself at the end, and as a context manager."""

    def __init__(self, events: Events[Async]) -> None:
        self._events = events

    async def __aiter__(self) -> AsyncIterator[Event[Async]]:
        try:
            while event := await self._events.next():
                yield event
        finally:
            await self.close()

    async def close(self) -> None:
        await self._events.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()


def streamed(
    build: Callable[Concatenate[Any, P], Events[Any]],
) -> Twin[P, EventStream, AsyncEventStream]:
    """A method that streams events."""
    return Twin(
        build,
        sync=lambda _, events: EventStream(events),
        asynchronous=lambda _, events: AsyncEventStream(events),
    )
