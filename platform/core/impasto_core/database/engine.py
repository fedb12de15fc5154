"""Sessions on PostgreSQL. A session is one transaction: it commits at the end of its block or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
from sqlalchemy import make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

DATABASE_ERRORS = (
    SQLAlchemyError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
"""PostgreSQL restarts, is away or out of connections. A connection that cannot be made is an OSError, and one
that was given up in the middle of an operation may raise an InternalClientError.
"""

_SET_ORGANIZATION = text("SELECT set_config('impasto.organization_id', :organization_id, true)")


class Database:
    """A connection pool of one role.

    `url` may be a plain `postgresql://` URL. Statements over `statement_seconds` are cancelled by the server,
    so that no request holds a connection for ever; who finds none free for `pool_seconds` gets
    sqlalchemy.exc.TimeoutError.
    """

    def __init__(
        self, url: str, *, pool_size: int = 10, pool_seconds: float = 5, statement_seconds: float = 30
    ) -> None:
        # Foreign keys lead from table to table, so SQLAlchemy must know all of them before the first flush,
        # whatever else the process has imported. Not at the top, since the tables import this package.
        from impasto_core.database import tables  # noqa: F401

        self.url = make_url(url).set(drivername="postgresql+asyncpg")
        self.engine = create_async_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=pool_seconds,
            pool_pre_ping=True,
            hide_parameters=True,  # errors are logged, and prompts are nobody's business
            connect_args={
                "timeout": 5,
                # The server's own limit below ends slow statements, this one the wait for a lost server.
                "command_timeout": statement_seconds + 5,
                "server_settings": {
                    "application_name": "impasto",
                    "statement_timeout": str(int(statement_seconds * 1000)),
                },
            },
        )

        self._autocommit = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @property
    def asyncpg_dsn(self) -> str:
        """The URL for asyncpg itself, for LISTEN connections outside the pool."""
        return self.url.set(drivername="postgresql").render_as_string(hide_password=False)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """A transaction that belongs to no organization: the API role sees no tenant's rows in it."""
        async with AsyncSession(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @asynccontextmanager
    async def tenant(self, organization_id: UUID) -> AsyncIterator[AsyncSession]:
        """A transaction of one organization: the row-level security policies read the setting made here."""
        async with self.session() as session:
            await act_for(session, organization_id)
            yield session

    @asynccontextmanager
    async def autocommit(self) -> AsyncIterator[AsyncConnection]:
        """A connection whose every statement is a transaction: no round trips for BEGIN and COMMIT."""
        async with self._autocommit.connect() as connection:
            yield connection

    async def close(self) -> None:
        await self.engine.dispose()


async def act_for(session: AsyncSession, organization_id: UUID) -> None:
    """From here on the transaction is the organization's. For who learns only in it whose it is."""
    connection = await session.connection()
    await connection.execute(_SET_ORGANIZATION, {"organization_id": str(organization_id)})
