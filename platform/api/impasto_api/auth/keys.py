"""The key ring: checks tokens, from memory where the key is warm.

A warm key costs no database round trip. It stays true because PostgreSQL tells every process that listens
when a key or its organization's plan changes, in the transaction that changes it. The listening connection
is probed all the time; while it is not known to work nothing is cached, so that a lost notification cannot
keep a revoked key alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
from sqlalchemy import text

from impasto_billing.plans.plan import Plan, shipped_free_plan
from impasto_core.api_keys.scopes import Scope
from impasto_core.api_keys.tokens import MalformedToken, Mode, Token, parse
from impasto_core.clock import Clock
from impasto_core.database import Database

logger = logging.getLogger(__name__)

_CHANNEL = "api_key_changed"
_ALL = "*"  # in place of a lookup id: the terms of a plan have changed
_PROBE_SECONDS = 0.4  # twice this stays under the second within which a revoked key must stop
_FLUSH_SECONDS = 5
_CAPACITY = 10_000

_FIND = text(
    "SELECT id, organization_id, mode, scopes, api_version, token_hash, expires_at, revoked_at,"
    " CAST(find_plan(organization_id) AS text) AS plan FROM find_api_key(:lookup_id)"
)
_TOUCH = text("SELECT touch_api_keys(CAST(:ids AS uuid[]), CAST(:used_at AS timestamptz[]))")


class InvalidKey(Exception):
    """The token is not one of a live key. The message says what to do and gives nothing away."""


@dataclass(frozen=True)
class Principal:
    """Who is asking, and what they may do. `plan` is their organization's."""

    organization_id: UUID
    api_key_id: UUID
    mode: Mode
    scopes: frozenset[Scope]
    api_version: str
    plan: Plan


@dataclass(frozen=True)
class _Key:
    principal: Principal
    token_hash: bytes
    expires_at: datetime | None
    revoked_at: datetime | None


class KeyRing:
    """Authenticates tokens. Use within `listening()`."""

    def __init__(self, database: Database, *, pepper: str, clock: Clock) -> None:
        self._database = database
        self._pepper = pepper
        self._clock = clock
        self._warm: OrderedDict[str, _Key] = OrderedDict()
        self._listening = False
        self._changes = 0
        self._used: dict[UUID, datetime] = {}

    async def authenticate(self, bearer: str) -> Principal:
        """Raises InvalidKey."""
        token = _parse(bearer)
        key = self._warm.get(token.lookup_id) or await self._find(token.lookup_id)
        return self._check(token, key)

    def recall(self, bearer: str) -> Principal | None:
        """The same from memory alone: None where the key is not warm or not valid."""
        try:
            token = _parse(bearer)
            return self._check(token, self._warm.get(token.lookup_id))
        except InvalidKey:
            return None

    def _check(self, token: Token, key: _Key | None) -> Principal:
        if key is None or not token.matches(key.token_hash, self._pepper):
            raise InvalidKey("There is no such API key.")
        now = self._clock()
        if key.revoked_at is not None:
            raise InvalidKey("The API key is revoked.")
        if key.expires_at is not None and key.expires_at <= now:
            raise InvalidKey("The API key has expired.")
        self._used[key.principal.api_key_id] = now
        return key.principal

    async def _find(self, lookup_id: str) -> _Key | None:
        changes = self._changes
        async with self._database.session() as session:
            connection = await session.connection()
            row = (await connection.execute(_FIND, {"lookup_id": lookup_id})).one_or_none()
        if row is None:
            return None
        plan = Plan.model_validate_json(row.plan) if row.plan else shipped_free_plan()
        principal = Principal(
            row.organization_id, row.id, row.mode, frozenset(map(Scope, row.scopes)), row.api_version, plan
        )
        key = _Key(principal, row.token_hash, row.expires_at, row.revoked_at)
        # A change that was announced while we read may not be in what we read: then it is not kept.
        if self._listening and changes == self._changes:
            self._warm[lookup_id] = key
            if len(self._warm) > _CAPACITY:
                self._warm.popitem(last=False)
        return key

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Hear of changed keys and record when keys were used, until the block ends."""
        tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._flush_periodically())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(Exception):  # at shutdown, a missing date is no reason to fail
                await self.flush()

    async def _listen(self) -> None:
        while True:
            try:
                connection = await asyncpg.connect(self._database.asyncpg_dsn, timeout=2)
                try:
                    await connection.add_listener(_CHANNEL, self._on_change)
                    self._listening = True
                    while True:
                        await asyncio.sleep(_PROBE_SECONDS)
                        # Not wait_for: until Python 3.12 it can swallow the cancel that ends this task.
                        async with asyncio.timeout(_PROBE_SECONDS):
                            await connection.execute("SELECT 1")
                finally:
                    self._forget_all()
                    connection.terminate()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                logger.warning("not listening for changed API keys: %r", error)
                await asyncio.sleep(_PROBE_SECONDS)

    def _on_change(self, _connection: object, _pid: int, _channel: str, lookup_id: object) -> None:
        self._changes += 1
        if lookup_id == _ALL:
            self._warm.clear()
        else:
            self._warm.pop(str(lookup_id), None)

    def _forget_all(self) -> None:
        self._listening = False
        self._changes += 1
        self._warm.clear()

    async def _flush_periodically(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            try:
                await self.flush()
            except Exception:
                logger.warning("could not record when API keys were used", exc_info=True)

    async def flush(self) -> None:
        """Write down when each key was last used: one statement for all of them."""
        used, self._used = self._used, {}
        if used:
            async with self._database.session() as session:
                connection = await session.connection()
                await connection.execute(_TOUCH, {"ids": list(used), "used_at": list(used.values())})


def _parse(bearer: str) -> Token:
    try:
        return parse(bearer)
    except MalformedToken:
        raise InvalidKey("The API key is malformed: check that it was copied whole.") from None
