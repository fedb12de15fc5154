"""What credits cost: in a job's life, in jobs a second of one organization, and among a million entries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text

from bench.installation import UNSERVED, Platform
from bench.interleave import milliseconds, p50, progress, seconds_of
from bench.rows import Row
from impasto_billing.ledger import service as ledger
from impasto_billing.ledger.tables import GrantSource
from impasto_core.clock import utc_now
from impasto_core.database import Database
from impasto_core.ids import new_id
from impasto_core.jobs import lifecycle
from impasto_core.jobs.tables import Job
from impasto_core.organizations.service import create_organization

ROUNDS = 300
CLIENTS = 8
CREATIONS = 1200
ENTRIES = 1_000_000

# Each job has four entries: two of its hold and two of its capture.
_LOAD = (
    f"""
    CREATE TEMPORARY TABLE past ON COMMIT DROP AS
    SELECT new_id() AS job, new_id() AS hold, new_id() AS capture FROM generate_series(1, {ENTRIES // 4})
    """,  # noqa: S608  # a constant
    """
    INSERT INTO ledger_transactions (id, organization_id, kind, business_key, job_id, description, created_at)
    SELECT hold, CAST(:organization AS uuid), 'hold', 'hold:' || job, job, '', now() FROM past UNION ALL
    SELECT capture, CAST(:organization AS uuid), 'settle', 'settle:' || job, job, '', now() FROM past
    """,
    """
    INSERT INTO ledger_entries (transaction_id, account_id, organization_id, amount)
    SELECT movement, account.id, account.organization_id, amount
    FROM past, LATERAL (
        VALUES (hold, 'grant', -1), (hold, 'holds', 1), (capture, 'holds', -1), (capture, 'spent', 1)
    ) AS change (movement, of_kind, amount)
    JOIN ledger_accounts AS account ON organization_id = CAST(:organization AS uuid) AND kind = of_kind
    """,
)


def rows(platform: Platform) -> Iterator[Row]:
    yield asyncio.run(_life(platform))
    yield asyncio.run(_creations(platform))
    yield asyncio.run(_balance(platform))


async def _life(platform: Platform) -> Row:
    async with _bench(platform) as bench:
        free_times, charged_times = [], []
        for done in range(ROUNDS):
            free_times.append(await seconds_of(lambda: bench.live(charged=False)))
            charged_times.append(await seconds_of(lambda: bench.live(charged=True)))
            progress("a job's life", done + 1, ROUNDS)
    free, charged = p50(free_times), p50(charged_times)
    return Row(
        "hold and capture in a job's life, p50",
        "the transactions that make and end the job, without them",
        (charged - free) * 1000,
        2,
        unit="ms",
        detail=f"{milliseconds(charged)} and {milliseconds(free)}",
    )


async def _creations(platform: Platform) -> Row:
    async with _bench(platform) as bench:

        async def client() -> None:
            for _ in range(CREATIONS // CLIENTS):
                await bench.make(charged=True)

        started = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        seconds = time.perf_counter() - started
    return Row(
        "job creations of one organization, each with a hold",
        f"{CLIENTS} connections at once",
        CREATIONS / seconds,
        200,
        unit="/s",
        more_is_better=True,
    )


async def _balance(platform: Platform) -> Row:
    async with _bench(platform) as bench:
        async with bench.database.session() as session:
            connection = await session.connection()
            for statement in _LOAD:
                await connection.execute(text(statement), {"organization": bench.organization_id})
            await connection.execute(text("ANALYZE"))
        times = [await bench.ask_for_balance() for _ in range(ROUNDS)]
    return Row("a balance, p50", f"a ledger of {ENTRIES:,} entries", p50(times) * 1000, 2, unit="ms")


@dataclass(frozen=True)
class _Bench:
    """An organization with plenty of credits, whose jobs nobody runs."""

    database: Database
    organization_id: UUID

    async def make(self, *, charged: bool) -> Job:
        """The job, and the last thing in its transaction its hold."""
        async with self.database.session() as session:
            job = Job(
                organization_id=self.organization_id,
                mode="live",
                pool=UNSERVED,
                pipeline="text-to-image",
                models=[UNSERVED],
                graph={},
                pixel_steps=1,
            )
            session.add(job)
            if charged:
                await ledger.hold(
                    session, organization_id=self.organization_id, job_id=job.id, amount=3, api_key_id=None
                )
        return job

    async def live(self, *, charged: bool) -> None:
        """Made, and ended in the shortest way there is."""
        job = await self.make(charged=charged)
        async with self.database.session() as session:
            await lifecycle.cancel(session, job.id)
            if charged:
                await ledger.settle(session, organization_id=self.organization_id, job_id=job.id, cost=2)

    async def ask_for_balance(self) -> float:
        async with self.database.session() as session:
            await session.connection()
            return await seconds_of(lambda: ledger.balance(session, self.organization_id, utc_now()))


@asynccontextmanager
async def _bench(platform: Platform) -> AsyncIterator[_Bench]:
    database = Database(platform.owner_url, pool_size=CLIENTS, statement_seconds=600)
    try:
        async with database.session() as session:
            slug = f"bench-{new_id()}"
            organization = await create_organization(session, slug=slug, name=slug)
            await ledger.grant(
                session,
                organization_id=organization.id,
                source=GrantSource.MANUAL,
                amount=10**9,
                reference="bench",
            )
        bench = _Bench(database, organization.id)
        for _ in range(50):
            await bench.live(charged=True)
        async with database.session() as session:
            connection = await session.connection()
            await connection.execute(text("ANALYZE"))  # as autovacuum soon would
        yield bench
    finally:
        await database.close()
