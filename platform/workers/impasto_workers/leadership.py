"""Which of several sweepers is the active one: whoever holds an advisory lock of PostgreSQL."""

from __future__ import annotations

import logging

import asyncpg

from impasto_core.database import DATABASE_ERRORS, Database

logger = logging.getLogger(__name__)

_TAKE = "SELECT pg_try_advisory_lock(hashtext('impasto-sweeper'))"
_TIMEOUT_SECONDS = 5

# When the leader's machine vanishes silently, PostgreSQL frees the lock after as long, not after two hours.
_KEEPALIVES = {"tcp_keepalives_idle": "3", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3"}


class Leadership:
    """The lock lives as long as the connection that took it, so it has one of its own.

    Needs a direct connection to PostgreSQL, not a transaction-pooling proxy, and to be asked more often than
    every `patience_seconds`: PostgreSQL ends the connection of a leader that hangs.
    """

    def __init__(self, database: Database, *, patience_seconds: float = 9) -> None:
        self._dsn = database.asyncpg_dsn
        self._connection: asyncpg.Connection | None = None
        self._leads = False
        self._patience = {
            "idle_session_timeout": f"{patience_seconds * 1000:.0f}",
            "tcp_user_timeout": f"{patience_seconds * 1000:.0f}",
        }

    async def held(self) -> bool:
        """Whether we lead. Where nobody does, we do from now on."""
        try:
            connection = self._connection or await self._connect()
            if self._leads:
                await connection.execute("SELECT 1")  # while the connection lives, so does our lock
            elif await connection.fetchval(_TAKE):
                logger.info("this sweeper leads")
                self._leads = True
        except DATABASE_ERRORS as error:
            logger.warning("PostgreSQL is away, and with it the lead: %r", error)
            self.give_up()
        return self._leads

    @property
    def leads(self) -> bool:
        """Whether we did when we last asked."""
        return self._leads

    def give_up(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
        self._connection = None
        self._leads = False

    async def _connect(self) -> asyncpg.Connection:
        self._connection = await asyncpg.connect(
            self._dsn,
            timeout=_TIMEOUT_SECONDS,
            command_timeout=_TIMEOUT_SECONDS,
            server_settings={"application_name": "impasto-sweeper"} | _KEEPALIVES | self._patience,
        )
        return self._connection
