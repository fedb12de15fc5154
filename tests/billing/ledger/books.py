"""One organization's ledger: each call a transaction of the process that makes it in earnest."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_billing.ledger import service as ledger
from impasto_billing.ledger.service import Balance, ClawBack
from impasto_billing.ledger.tables import CreditGrant, GrantSource, LedgerAccount, LedgerTransaction
from impasto_billing.ledger.verify import verify
from impasto_core.clock import utc_now
from impasto_core.database import Database
from impasto_core.ids import new_id


class Books:
    def __init__(
        self, owner: Database, api: Database, worker: Database, payments: Database, organization_id: UUID
    ) -> None:
        self.owner = owner
        self.api = api
        self.worker = worker
        self.payments = payments
        self.organization_id = organization_id
        self.now = utc_now()

    def later(self, **amount: float) -> datetime:
        return self.now + timedelta(**amount)

    async def grant(
        self, amount: int, reference: str | None = None, source: str = "manual", **terms: Any
    ) -> CreditGrant:
        async with self.owner.session() as session:
            return await ledger.grant(
                session,
                organization_id=self.organization_id,
                source=GrantSource(source),
                amount=amount,
                reference=reference or secrets.token_hex(4),
                now=self.now,
                **terms,
            )

    async def hold(self, amount: int, job_id: UUID | None = None) -> UUID:
        """The job that holds them."""
        async with self.api.tenant(self.organization_id) as session:
            return await self._hold(session, amount, job_id or new_id())

    async def rows_read_by_a_hold(self) -> int:
        """Of all tables."""
        query = text("SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_xact_user_tables")
        async with self.api.tenant(self.organization_id) as session:
            connection = await session.connection()
            before = await connection.scalar(query)
            await self._hold(session, 1, new_id())
            return int(await connection.scalar(query)) - int(before)

    async def _hold(self, session: AsyncSession, amount: int, job_id: UUID) -> UUID:
        await ledger.hold(
            session,
            organization_id=self.organization_id,
            job_id=job_id,
            amount=amount,
            api_key_id=None,
            now=self.now,
        )
        return job_id

    async def settle(self, job_id: UUID, cost: int) -> None:
        async with self.worker.session() as session:
            await ledger.settle(
                session, organization_id=self.organization_id, job_id=job_id, cost=cost, now=self.now
            )

    async def claw_back(
        self, amount: int, reference: str = "refund", grant_reference: str | None = None
    ) -> ClawBack:
        async with self.payments.tenant(self.organization_id) as session:
            return await ledger.claw_back(
                session,
                organization_id=self.organization_id,
                amount=amount,
                reference=reference,
                grant_reference=grant_reference,
                now=self.now,
            )

    async def expire(self, limit: int = 100) -> int:
        async with self.worker.session() as session:
            return await ledger.expire_grants(session, now=self.now, limit=limit)

    async def balance(self) -> Balance:
        async with self.api.tenant(self.organization_id) as session:
            return await ledger.balance(session, self.organization_id, self.now)

    async def available(self) -> int:
        return (await self.balance()).available

    async def left(self) -> dict[str, int]:
        """What is left of each grant, by reference."""
        query = (
            select(CreditGrant.reference, LedgerAccount.balance)
            .join(LedgerAccount, col(LedgerAccount.grant_id) == CreditGrant.id)
            .where(CreditGrant.organization_id == self.organization_id)
        )
        async with self.owner.session() as session:
            return dict((await session.exec(query)).all())

    async def accounts(self) -> dict[str, int]:
        """The balances of all but the grants' accounts, zero left out."""
        query = select(LedgerAccount.kind, LedgerAccount.balance).where(
            LedgerAccount.organization_id == self.organization_id,
            LedgerAccount.kind != "grant",
            LedgerAccount.balance != 0,
        )
        async with self.owner.session() as session:
            return dict((await session.exec(query)).all())

    async def movements(self) -> list[str]:
        """The kinds of all transactions, the first one first."""
        query = (
            select(LedgerTransaction.kind)
            .where(LedgerTransaction.organization_id == self.organization_id)
            .order_by(col(LedgerTransaction.created_at))
        )
        async with self.owner.session() as session:
            return list((await session.exec(query)).all())

    async def drift(self) -> list[str]:
        async with self.owner.session() as session:
            return [example for finding in await verify(session) for example in finding.examples]


async def execute(
    database: Database, statement: str, *, organization_id: UUID | None = None, **values: object
) -> None:
    """As the database's role, and for the organization given."""
    in_scope = database.tenant(organization_id) if organization_id else database.session()
    async with in_scope as session:
        connection = await session.connection()
        await connection.execute(text(statement), values)
