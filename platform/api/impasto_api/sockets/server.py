"""/socket.io: the same events as the streams have, over one WebSocket for many jobs.

What a client hears of a job that it subscribed to comes from the job's stream, as with server-sent events: in
order, without gap or repeat while it is connected, and from any event on. The room of its organization, where
final states of all jobs are told, is served by python-socketio's Redis manager: one process tells, all
processes deliver, at most once.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

import socketio
from redis.exceptions import RedisError
from socketio.exceptions import ConnectionRefusedError as Refused
from socketio.packet import Packet
from starlette.requests import HTTPConnection
from starlette.types import Message as AsgiMessage
from starlette.types import Receive, Scope, Send

from impasto_api.auth.keys import InvalidKey, Principal
from impasto_api.jobs import service, stream, waiting
from impasto_api.jobs.hub import HubClosed, Message
from impasto_api.problems import (
    BadRequest,
    Forbidden,
    InternalError,
    NotFound,
    Problem,
    QuotaExceeded,
    ServiceUnavailable,
    TooManySubscriptions,
    Unauthenticated,
    ValidationFailed,
)
from impasto_api.rate_limits.middleware import RequestLimits
from impasto_api.services import Services
from impasto_api.sockets.schemas import Credentials, Subscribe, Unsubscribe, document, read
from impasto_core.api_keys.scopes import Scope as KeyScope
from impasto_core.database import DATABASE_ERRORS
from impasto_core.ids import format_id
from impasto_core.jobs.events import FIRST
from impasto_core.jobs.tables import FINAL_STATUSES

logger = logging.getLogger(__name__)

MAX_SUBSCRIPTIONS = 100
"""Jobs that a connection may follow."""

AUTHENTICATE_SECONDS = 10.0
"""Who has opened a connection must by then have said who he is."""

CHECK_SECONDS = 5.0
"""How often the keys of open connections are looked at: a revoked one ends its connections."""

_MAX_MESSAGE_BYTES = 16_384
_MAX_QUEUED = 100
"""Packets that wait for a reader before he is waited for."""

_PACKET = re.compile(r"[0-6]")
"""How every packet of Engine.IO begins that is text."""

_LIMITS, _DEADLINE = "impasto.limits", "impasto.deadline"


_SILENT = logging.getLogger("engineio.silent")
"""Engine.IO reports what clients send that makes no sense, with tracebacks. We report our own errors."""
_SILENT.setLevel(logging.CRITICAL)


class TextPacket(Packet):  # type: ignore[misc]  # it has no types
    """A packet without attachments: to wait for as many as a client announces would be to keep them all."""

    def decode(self, encoded_packet: str) -> int:
        if super().decode(encoded_packet):
            raise ValueError("nothing here is binary")
        return 0


@dataclass
class _Connection:
    http: HTTPConnection
    deadline: asyncio.Timeout
    api_key: str
    principal: Principal
    eio_sid: str = ""
    subscriptions: dict[UUID, asyncio.Task[None]] = field(default_factory=dict)
    hears_ends: bool = False

    @property
    def organization_id(self) -> UUID:
        return self.principal.organization_id


class Sockets:
    """The Socket.IO server of a process: an ASGI app for WebSockets. Use within `running()`."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._manager = socketio.AsyncRedisManager(
            services.settings.redis_url.get_secret_value(),
            channel="impasto:socket.io",
            redis_options={"socket_connect_timeout": 2, "health_check_interval": 10},
        )
        self._sio = socketio.AsyncServer(
            async_mode="asgi",
            client_manager=self._manager,
            transports=["websocket"],  # long polling would need every request of a client at the same process
            cors_allowed_origins="*",  # there are no cookies: a page can use only what it is given
            max_http_buffer_size=_MAX_MESSAGE_BYTES,
            serializer=TextPacket,
            engineio_logger=_SILENT,
            async_handlers=False,  # a client's next wish is read when the one before is answered
        )
        self._app = socketio.ASGIApp(self._sio, socketio_path=None)
        self._connections: dict[str, _Connection] = {}
        self._hearing: Counter[UUID] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sio.on("connect", self._connect)
        self._sio.on("disconnect", self._disconnect)
        for name, handler in {
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            "subscribe_organization": self._subscribe_organization,
        }.items():
            self._sio.on(name, self._answering(handler))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        checking = asyncio.create_task(self._check_keys_regularly())
        try:
            yield
        finally:
            for connection in self._connections.values():
                self._tasks.update(connection.subscriptions.values())
            tasks = {checking, *self._tasks}
            if self._sio.manager_initialized:
                tasks.add(self._manager.thread)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._sio.shutdown()
            if self._manager.redis is not None:
                await self._manager.pubsub.aclose()
                await self._manager.redis.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limits = RequestLimits(self._services, HTTPConnection(scope))
        try:
            await limits.arrive()
        except QuotaExceeded:
            await send({"type": "websocket.close", "code": 1013})
            return

        async def receive_packet() -> AsgiMessage:
            message = await receive()
            if message["type"] == "websocket.receive" and not _PACKET.match(message.get("text") or ""):
                return {"type": "websocket.disconnect", "code": 1003}  # Engine.IO would fall over it
            return message

        with suppress(TimeoutError):
            async with asyncio.timeout(AUTHENTICATE_SECONDS) as deadline:
                await self._app({**scope, _LIMITS: limits, _DEADLINE: deadline}, receive_packet, send)

    async def _connect(self, sid: str, environ: dict[str, Any], auth: object) -> None:
        scope: Scope = environ["asgi.scope"]
        try:
            connection = await self._admit(scope, auth)
        except Problem as problem:
            raise _refused(problem) from None
        except DATABASE_ERRORS:
            logger.warning("cannot check an API key", exc_info=True)
            raise _refused(ServiceUnavailable("Try again in a moment.")) from None
        connection.eio_sid = self._manager.eio_sid_from_sid(sid, "/")
        connection.deadline.reschedule(None)
        self._connections[sid] = connection
        self._services.followers[connection.organization_id] += 1
        logger.info(
            "a socket is connected",
            extra={"fields": {"organization_id": format_id("org", connection.organization_id)}},
        )

    async def _admit(self, scope: Scope, auth: object) -> _Connection:
        """Raises Problem and one of DATABASE_ERRORS."""
        limits: RequestLimits = scope[_LIMITS]
        deadline: asyncio.Timeout = scope[_DEADLINE]
        if deadline.when() is None:
            raise BadRequest("You are connected already.")
        if not isinstance(auth, dict) or "api_key" not in auth:
            raise Unauthenticated('Send your API key as auth: {"api_key": "imp_live_..."}')
        api_key = read(Credentials, auth).api_key
        await limits.arrive()  # as a request does: one connection may try any number of keys
        try:
            principal = await self._services.keys.authenticate(api_key)
        except InvalidKey as error:
            await limits.count_failed_authentication()
            raise Unauthenticated(str(error)) from None
        await limits.admit(principal)
        if KeyScope.JOBS_READ not in principal.scopes:
            raise Forbidden(f"The key lacks the scope {KeyScope.JOBS_READ.value}. Make one that has it.")
        waiting.check_room(self._services, principal.organization_id)
        return _Connection(HTTPConnection(scope), deadline, api_key, principal)

    async def _disconnect(self, sid: str, reason: str) -> None:
        connection = self._connections.pop(sid, None)
        if connection is None:
            return
        self._services.followers[connection.organization_id] -= 1
        for task in connection.subscriptions.values():
            task.cancel()
        if connection.hears_ends:
            self._hearing[connection.organization_id] -= 1
            if not self._hearing[connection.organization_id]:
                self._services.hub.ignore_ends(connection.organization_id)
        with suppress(RuntimeError):  # where the WebSocket is closed already
            connection.deadline.reschedule(asyncio.get_running_loop().time() + AUTHENTICATE_SECONDS)

    def _answering(
        self, handler: Callable[[str, _Connection, object], Awaitable[None]]
    ) -> Callable[..., Awaitable[dict[str, Any]]]:
        """A handler that counts as a request and acknowledges: `{ok: true}`, or false and the problem."""

        async def answer(sid: str, said: object = None, *_: object) -> dict[str, Any]:
            connection = self._connections[sid]
            try:
                principal = await self._authenticate_again(sid, connection)
                await RequestLimits(self._services, connection.http).admit(principal)
                await handler(sid, connection, said)
            except Problem as problem:
                return {"ok": False, "error": document(problem)}
            except DATABASE_ERRORS:
                logger.warning("PostgreSQL is away", exc_info=True)
                return {"ok": False, "error": document(ServiceUnavailable("Try again in a moment."))}
            except Exception:
                logger.exception("unhandled error")
                return {"ok": False, "error": document(InternalError())}
            return {"ok": True}

        return answer

    async def _subscribe(self, sid: str, connection: _Connection, said: object) -> None:
        """Tell a job's events from now on, and anew where it was followed before."""
        subscribe = read(Subscribe, said)
        organization_id = connection.organization_id
        job = await service.view(self._services, organization_id, subscribe.job_id)
        if subscribe.last_event_id == stream.FINAL_ID:
            if job.status.is_final:
                return
            raise ValidationFailed.of("body", "last_event_id", "invalid", "The job has not ended.")
        if (former := connection.subscriptions.pop(job.id, None)) is not None:
            former.cancel()
        if len(connection.subscriptions) >= MAX_SUBSCRIPTIONS:
            raise TooManySubscriptions(MAX_SUBSCRIPTIONS)
        waiting.check_room(self._services, organization_id)
        events = stream.messages(self._services, organization_id, job, subscribe.last_event_id or FIRST)
        connection.subscriptions[job.id] = asyncio.create_task(self._tell(sid, connection, job.id, events))

    async def _unsubscribe(self, _sid: str, connection: _Connection, said: object) -> None:
        task = connection.subscriptions.pop(read(Unsubscribe, said).job_id, None)
        if task is not None:
            task.cancel()

    async def _subscribe_organization(self, sid: str, connection: _Connection, _said: object) -> None:
        """Tell how the jobs of the connection's organization end, whoever made them."""
        if connection.hears_ends:
            return
        connection.hears_ends = True
        organization_id = connection.organization_id
        await self._sio.enter_room(sid, _room(organization_id))
        self._hearing[organization_id] += 1
        if self._hearing[organization_id] == 1:
            self._services.hub.hear_ends(organization_id, partial(self._heard_end, organization_id))

    async def _authenticate_again(self, sid: str, connection: _Connection) -> Principal:
        """The key may have been revoked since. Raises Unauthenticated and one of DATABASE_ERRORS."""
        try:
            return await self._services.keys.authenticate(connection.api_key)
        except InvalidKey as error:
            await self._sio.disconnect(sid, ignore_queue=True)
            raise Unauthenticated(str(error)) from None

    async def _tell(
        self, sid: str, connection: _Connection, job_id: UUID, events: AsyncGenerator[Message | None, None]
    ) -> None:
        """Send a job's events to one connection until the last of them."""
        too_slow = False
        try:
            async with aclosing(events):
                async for event in events:
                    if event is not None:
                        await self._until_read(connection)
                        await self._emit(event, job_id, to=sid, ignore_queue=True)
        except HubClosed:
            pass  # uvicorn is about to close the connection
        except NotFound:
            logger.info("a job is gone that a socket follows")
        except TimeoutError:
            too_slow = True
        if connection.subscriptions.get(job_id) is asyncio.current_task():
            del connection.subscriptions[job_id]
        if too_slow:
            stream.dropped.add(1)
            logger.info("a socket does not read: it is dropped")
            await self._sio.disconnect(sid, ignore_queue=True)

    async def _until_read(self, connection: _Connection) -> None:
        """Returns while not too much waits to be sent. Raises TimeoutError when that lasts too long."""
        socket = self._sio.eio.sockets.get(connection.eio_sid)
        if socket is not None and socket.queue.qsize() >= _MAX_QUEUED:
            async with asyncio.timeout(stream.PATIENCE_SECONDS):
                await socket.queue.join()

    def _heard_end(self, organization_id: UUID, job_id: UUID) -> None:
        task = asyncio.create_task(self._tell_end(organization_id, job_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell_end(self, organization_id: UUID, job_id: UUID) -> None:
        """To the whole room: the first process that comes tells it, and the others deliver."""
        try:
            if not await self._services.redis.set(f"impasto:told:{job_id}", 1, nx=True, ex=60):
                return
            event = await stream.final(self._services, organization_id, job_id)
        except (RedisError, NotFound, *DATABASE_ERRORS):
            logger.warning("the end of a job is not told to its organization", exc_info=True)
            return
        if event.type in FINAL_STATUSES:
            await self._emit(event, job_id, room=_room(organization_id))

    async def _emit(self, event: Message, job_id: UUID, **to: Any) -> None:
        envelope = {"id": event.id, "job_id": format_id("job", job_id)}
        await self._sio.emit(event.type, (event.fields, envelope), **to)

    async def _check_keys_regularly(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            using: defaultdict[str, list[str]] = defaultdict(list)
            for sid, connection in self._connections.items():
                using[connection.api_key].append(sid)
            for api_key, sids in using.items():
                try:
                    await self._services.keys.authenticate(api_key)
                except InvalidKey:
                    for sid in sids:
                        await self._sio.disconnect(sid, ignore_queue=True)
                except DATABASE_ERRORS:
                    logger.warning("cannot check an API key", exc_info=True)


def _refused(problem: Problem) -> Refused:
    return Refused(problem.title, document(problem))


def _room(organization_id: UUID) -> str:
    return format_id("org", organization_id)
