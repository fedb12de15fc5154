"""The key ring: checks tokens, from memory where the key is warm, at the cost of no database round trip."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from impasto_api.memory import Memory
from impasto_billing.plans.plan import Plan, shipped_free_plan
from impasto_core.api_keys.scopes import Scope
from impasto_core.api_keys.tokens import MalformedToken, Mode, Token, parse
from impasto_core.clock import Clock
from impasto_core.database import Database

logger = logging.getLogger(__name__)

_FLUSH_SECONDS = 5

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
    """Authenticates tokens. Use within `recording()`."""

    def __init__(self, database: Database, *, pepper: str, clock: Clock) -> None:
        self._database = database
        self._pepper = pepper
        self._clock = clock
        self.memory: Memory[_Key] = Memory("api_key_changed")
        self._used: dict[UUID, datetime] = {}

    async def authenticate(self, bearer: str) -> Principal:
        """Raises InvalidKey."""
        token = _parse(bearer)
        key = await self.memory.find(token.lookup_id, lambda: self._find(token.lookup_id))
        return self._check(token, key)

    def recall(self, bearer: str) -> Principal | None:
        """The same from memory alone: None where the key is not warm or not valid."""
        try:
            token = _parse(bearer)
            return self._check(token, self.memory.recall(token.lookup_id))
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
        async with self._database.session() as session:
            connection = await session.connection()
            row = (await connection.execute(_FIND, {"lookup_id": lookup_id})).one_or_none()
        if row is None:
            return None
        plan = Plan.model_validate_json(row.plan) if row.plan else shipped_free_plan()
        principal = Principal(
            row.organization_id, row.id, row.mode, frozenset(map(Scope, row.scopes)), row.api_version, plan
        )
        return _Key(principal, row.token_hash, row.expires_at, row.revoked_at)

    @asynccontextmanager
    async def recording(self) -> AsyncIterator[None]:
        """Record when keys were used, until the block ends."""
        task = asyncio.create_task(self._flush_periodically())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            with contextlib.suppress(Exception):  # at shutdown, a missing date is no reason to fail
                await self.flush()

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
