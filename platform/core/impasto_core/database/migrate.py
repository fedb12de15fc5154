"""Schema migrations: Alembic without an ini file, on the async engine everything else uses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from impasto_core.database.engine import Database

# Two processes that start together must not migrate together.
_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('impasto-migrations'))")


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


async def upgrade(database_url: str, revision: str = "head") -> None:
    """Bring the schema up to `revision`, all of it or nothing. Run as the owner role."""
    await _run(database_url, lambda config: command.upgrade(config, revision))


async def downgrade(database_url: str, revision: str) -> None:
    await _run(database_url, lambda config: command.downgrade(config, revision))


async def _run(database_url: str, migrate: Callable[[Config], None]) -> None:
    database = Database(database_url, pool_size=1, statement_seconds=600)

    def on_connection(connection: Connection) -> None:
        config = alembic_config()
        config.attributes["connection"] = connection
        migrate(config)

    try:
        async with database.engine.begin() as connection:
            await connection.execute(_LOCK)
            await connection.run_sync(on_connection)
    finally:
        await database.close()
