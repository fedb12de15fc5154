"""Sessions: one transaction each, that nothing holds for ever."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from impasto_core.database import Database
from tests.support.databases import DatabaseUrls


async def test_what_a_session_did_is_undone_when_it_fails(owner_database: Database) -> None:
    async def break_off() -> None:
        async with owner_database.session() as session:
            await (await session.connection()).execute(text("DELETE FROM alembic_version"))
            raise ConnectionError

    with pytest.raises(ConnectionError):
        await break_off()
    async with owner_database.session() as session:
        found = await (await session.connection()).execute(text("SELECT count(*) FROM alembic_version"))
        assert found.scalar_one() == 1


async def test_a_statement_that_takes_too_long_is_ended_by_the_server(urls: DatabaseUrls) -> None:
    database = Database(urls.api, pool_size=1, statement_seconds=0.05)
    async with database.session() as session:
        connection = await session.connection()
        with pytest.raises(DBAPIError, match="statement timeout"):
            await connection.execute(text("SELECT pg_sleep(60)"))
        await session.rollback()
    await database.close()


async def test_a_connection_that_died_in_the_pool_is_replaced_unnoticed(urls: DatabaseUrls) -> None:
    database, other = Database(urls.api, pool_size=1), Database(urls.api, pool_size=1)
    for _ in range(2):
        async with database.session() as session:
            pid = (await (await session.connection()).execute(text("SELECT pg_backend_pid()"))).scalar_one()
        async with other.session() as session:
            await (await session.connection()).execute(text(f"SELECT pg_terminate_backend({pid})"))
    await database.close()
    await other.close()


async def test_who_finds_no_free_connection_is_told_so_and_does_not_wait_for_ever(
    urls: DatabaseUrls,
) -> None:
    database = Database(urls.api, pool_size=1, pool_seconds=0.01)
    async with database.session() as busy:
        await busy.connection()
        async with database.session() as late:
            with pytest.raises(PoolTimeout):
                await late.connection()
    await database.close()
