"""The dispatcher's loop. Any number may run: what one has claimed, the others pass over."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from datetime import timedelta

import asyncpg

from impasto_core.clock import Clock, utc_now
from impasto_core.database import DATABASE_ERRORS, Database
from impasto_core.ids import format_id
from impasto_core.telemetry import current_traceparent, fail
from impasto_core.webhooks import signing
from impasto_core.webhooks.outbox import CHANNEL
from impasto_core.webhooks.payloads import body_of
from impasto_core.webhooks.secrets import SecretBox, signing_key
from impasto_core.webhooks.tables import DeliveryStatus, WebhookAttempt
from impasto_workers.webhooks import claims
from impasto_workers.webhooks.claims import Claimed
from impasto_workers.webhooks.room import Room
from impasto_workers.webhooks.schedule import next_delay
from impasto_workers.webhooks.sender import REQUEST_HEADERS, Answer, Sender
from impasto_workers.webhooks.telemetry import attempt_span, attempts, durations, lags

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""Between two looks, where nothing is heard: what has come due by the clock, and what the wire has lost."""

PROBE_SECONDS = 5.0
RECORD_PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds between tries to write down an attempt: the lease is longer."""


class Dispatcher:
    """`run` until it is cancelled; `close` lets it end what it has begun."""

    def __init__(self, database: Database, sender: Sender, box: SecretBox, clock: Clock = utc_now) -> None:
        self._database = database
        self._sender = sender
        self._box = box
        self._clock = clock
        self._room = Room()
        self._after = claims.NO_LANE
        self._wake = asyncio.Event()
        self._closing = False

    async def run(self) -> None:
        listening = asyncio.create_task(self._listen())
        try:
            async with asyncio.TaskGroup() as group:
                while not self._closing:
                    claimed = await self._claim()
                    for one in claimed:
                        group.create_task(self._attempt(one))
                    if not claimed and (self._after == claims.NO_LANE or self._room.left <= 0):
                        await self._sleep()
        finally:
            listening.cancel()

    def close(self) -> None:
        self._closing = True
        self._wake.set()

    async def _sleep(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._wake.wait()
        self._wake.clear()  # what wakes us from here on is for the next time

    async def _listen(self) -> None:
        """Wakes the loop when PostgreSQL says that something is due. Needs a connection of its own."""
        while True:
            try:
                connection = await asyncpg.connect(self._database.asyncpg_dsn, timeout=5, command_timeout=5)
                try:
                    await connection.add_listener(CHANNEL, lambda *_: self._wake.set())
                    self._wake.set()  # what came before we listened
                    while True:
                        await asyncio.sleep(PROBE_SECONDS)
                        await connection.execute("SELECT 1")
                finally:
                    connection.terminate()
            except DATABASE_ERRORS as error:
                logger.warning("not listening, and so late by up to %s s: %r", POLL_SECONDS, error)
            await asyncio.sleep(POLL_SECONDS)

    # Claiming

    async def _claim(self) -> list[Claimed]:
        """What is due in the next lanes of the round. `_after` is back at the beginning once it is over."""
        if self._room.left <= 0:
            return []
        after, self._after = self._after, claims.NO_LANE
        try:
            async with self._database.session() as session:
                lanes = await claims.due_lanes(
                    session,
                    after=after,
                    full_lanes=self._room.full_lanes,
                    full_organizations=self._room.full_organizations,
                )
                if disabled := [lane for lane in lanes if not lane.enabled]:
                    await claims.close_disabled(session, disabled)
                rooms = self._room.share_out([lane for lane in lanes if lane.enabled])
                claimed = await claims.claim(session, self._box, rooms, self._clock()) if rooms else []
        except DATABASE_ERRORS as error:
            logger.warning("PostgreSQL is away: %r", error)
            return []
        except Exception:  # the loop goes on, and tries again in a while
            logger.exception("could not claim")
            return []
        for one in claimed:
            self._room.take(one)
        if self._room.left <= 0 and rooms:
            self._after = rooms[-1][0].id
        elif len(lanes) == claims.MAX_LANES:
            self._after = lanes[-1].id
        return claimed

    # Attempts

    async def _attempt(self, claimed: Claimed) -> None:
        try:
            with attempt_span(claimed) as span:
                if claimed.number == 1:
                    lags.record(max(0.0, (self._clock() - claimed.event.created_at).total_seconds()))
                headers = self._headers(claimed)
                started_at, started = self._clock(), time.perf_counter()
                answer = await self._sender.send(claimed.url, headers, body_of(claimed.event))
                seconds = time.perf_counter() - started
                row = WebhookAttempt(
                    delivery_id=claimed.delivery.id,
                    number=claimed.number,
                    organization_id=claimed.delivery.organization_id,
                    started_at=started_at,
                    duration_ms=round(seconds * 1000),
                    outcome=DeliveryStatus.SUCCEEDED if answer.succeeded else DeliveryStatus.FAILED,
                    url=claimed.url,
                    request_headers=headers,
                    response_status=answer.status,
                    response_headers=answer.headers if answer.status else None,
                    response_body=answer.body if answer.status else None,
                    error=answer.error,
                )
                retry_in = self._retry_in(claimed, answer)
                durations.record(seconds)
                outcome = row.outcome if answer.succeeded or retry_in is None else "retried"
                attempts.add(1, {"type": claimed.event.type, "outcome": outcome})
                if answer.status is not None:
                    span.set_attribute("http.response.status_code", answer.status)
                if not answer.succeeded:
                    fail(span, str(answer.status or "no-answer"))
                await self._record(claimed, row, retry_in=retry_in, is_gone=answer.is_gone)
        except Exception:  # once its lease is over the delivery is tried again
            logger.exception("an attempt broke")
        finally:
            self._room.give_back(claimed)
            self._wake.set()

    def _headers(self, claimed: Claimed) -> dict[str, str]:
        webhook_id = format_id("evt", claimed.event.id)
        timestamp = int(self._clock().timestamp())
        keys = [signing_key(self._box, secret) for secret in claimed.secrets]
        headers = REQUEST_HEADERS | signing.headers(keys, webhook_id, timestamp, body_of(claimed.event))
        traceparent = current_traceparent()
        return headers | ({"traceparent": traceparent} if traceparent else {})

    def _retry_in(self, claimed: Claimed, answer: Answer) -> timedelta | None:
        if answer.is_gone:
            return None
        return next_delay(claimed.delivery.failures + 1, answer.retry_after, random.random)

    async def _record(
        self, claimed: Claimed, row: WebhookAttempt, *, retry_in: timedelta | None, is_gone: bool
    ) -> None:
        for pause in (*RECORD_PAUSES, None):
            try:
                async with self._database.session() as session:
                    # A copy, for the row belongs to the session that it was added to.
                    ours = await claims.record(
                        session,
                        claimed,
                        WebhookAttempt(**row.model_dump()),
                        retry_in=retry_in,
                        is_gone=is_gone,
                    )
            except DATABASE_ERRORS as error:
                if pause is None:
                    raise
                logger.warning("could not write down an attempt, trying again: %r", error)
                await asyncio.sleep(pause)
            else:
                if not ours:
                    logger.warning("the delivery is another's by now, or deleted")
                return
