"""A fresh database for every test: PostgreSQL copies a migrated template in a few dozen milliseconds."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg
from sqlalchemy import URL, make_url

from impasto_billing.plans import read_plans
from impasto_billing.plans.service import sync
from impasto_core.database import Database, Role, migrate

PASSWORD = "only for tests"


@dataclass(frozen=True)
class DatabaseUrls:
    """One database, by role."""

    owner: str
    api: str
    worker: str
    payments: str
    webhooks: str


class Template:
    """A migrated database that knows the plans, to copy. The roles that log in are made with it."""

    def __init__(self, maintenance_url: str, name: str) -> None:
        self._url = make_url(maintenance_url)
        self._name = name

    async def create(self) -> None:
        await self._execute(f'CREATE DATABASE "{self._name}"')
        await migrate.upgrade(_text(self._url.set(database=self._name)))
        await _sync_plans(_text(self._url.set(database=self._name)))
        for role in (Role.API, Role.WORKER, Role.PAYMENTS, Role.WEBHOOKS):
            await self._execute(f"ALTER ROLE {role} LOGIN PASSWORD '{PASSWORD}'")

    async def copy(self, name: str) -> DatabaseUrls:
        # Copied as files, which without fsync is faster than by way of the log.
        await self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{self._name}" STRATEGY FILE_COPY')
        url = self._url.set(database=name)
        return DatabaseUrls(
            owner=_text(url),
            api=_text(url.set(username=Role.API, password=PASSWORD)),
            worker=_text(url.set(username=Role.WORKER, password=PASSWORD)),
            payments=_text(url.set(username=Role.PAYMENTS, password=PASSWORD)),
            webhooks=_text(url.set(username=Role.WEBHOOKS, password=PASSWORD)),
        )

    async def drop(self, name: str | None = None) -> None:
        await self._execute(f'DROP DATABASE IF EXISTS "{name or self._name}"')

    async def _execute(self, statement: str) -> None:
        await execute(_text(self._url), statement)


async def execute(url: str, statement: str) -> None:
    """One statement outside of any transaction, as `CREATE DATABASE` wants it."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _sync_plans(owner_url: str) -> None:
    database = Database(owner_url, pool_size=1)
    async with database.session() as session:
        await sync(session, read_plans())
    await database.close()


def _text(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)
