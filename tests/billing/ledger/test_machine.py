"""Any history of calls, replays and crashes leaves the real ledger as it leaves the plain one."""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_billing.ledger import service as ledger
from impasto_billing.ledger.service import LedgerError, NotEnoughCredits
from impasto_billing.ledger.tables import GrantSource
from impasto_billing.ledger.verify import verify
from impasto_core.database import DATABASE_ERRORS, Database
from impasto_core.ids import new_id
from impasto_core.organizations.service import create_organization
from tests.billing.ledger.plain_ledger import PlainLedger
from tests.support.databases import DatabaseUrls

HISTORIES = int(os.environ.get("IMPASTO_LEDGER_HISTORIES", "75"))
"""How many are tried. Each run draws others; thousands at a time take minutes."""

STEPS = 40

START = datetime(2026, 1, 1, tzinfo=UTC)

BALANCES = text(
    """
    SELECT coalesce(reference, kind) AS account, balance,
        (SELECT coalesce(sum(amount), 0) FROM ledger_entries WHERE account_id = accounts.id) AS entered
    FROM ledger_accounts AS accounts LEFT JOIN credit_grants ON credit_grants.id = grant_id
    WHERE accounts.organization_id = :organization_id
    """
)


@dataclass(frozen=True)
class Call:
    """One of the ledger's functions and what it is called with, but for the time and the organization."""

    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


class Manner(StrEnum):
    """How a process goes away in the middle of a transaction."""

    ROLLBACK = "rollback"
    KILLED = "killed"


@dataclass(frozen=True)
class Crash:
    """The process is gone after so many of the transaction's calls."""

    after: int
    manner: Manner


class Crashed(Exception):
    pass


amounts = st.integers(1, 40)
percents = st.integers(1, 105)
hours = st.integers(1, 6)
sources = st.sampled_from(GrantSource)
manners = st.sampled_from(Manner)
priorities = st.none() | st.integers(0, 2)
crashes = st.sampled_from([None] * 28 + [Crash(after, manner) for after in (0, 1) for manner in Manner])


class Ledger(RuleBasedStateMachine):
    """Each example has an organization of its own in one database, and a time of its own."""

    steps = 0
    grants = Bundle("grants")
    jobs = Bundle("jobs")
    calls = Bundle("calls")

    def __init__(self, runner: asyncio.Runner, database: Database) -> None:
        super().__init__()
        self.runner = runner
        self.database = database
        self.plain = PlainLedger()
        self.now = START
        self.waited = False
        self.organization_id = runner.run(self._make_organization())

    @initialize(
        targets=(grants, calls), amount=amounts, source=sources, priority=priorities, lasts=st.none() | hours
    )
    def begin(self, amount: int, source: GrantSource, priority: int | None, lasts: int | None) -> Any:
        return self.grant(amount, source, priority, None, lasts, None)

    @rule(
        targets=(grants, calls),
        amount=amounts,
        source=sources,
        priority=priorities,
        starts=st.none() | hours,
        lasts=st.none() | hours,
        crash=crashes,
    )
    def grant(
        self,
        amount: int,
        source: GrantSource,
        priority: int | None,
        starts: int | None,
        lasts: int | None,
        crash: Crash | None,
    ) -> Any:
        begins = self.now + timedelta(hours=starts or 0)
        call = Call(
            "grant",
            {
                "amount": amount,
                "reference": str(new_id()),
                "source": source,
                "priority": priority,
                "valid_from": None if starts is None else begins,
                "valid_until": None if lasts is None else begins + timedelta(hours=lasts),
            },
        )
        return self._remember(call, crash)

    @precondition(lambda self: self.plain.balance(self.now).available)
    @rule(targets=(jobs, calls), percent=percents, crash=crashes)
    def hold(self, percent: int, crash: Crash | None) -> Any:
        return self._remember(self._hold(percent), crash)

    @rule(target=calls, job=jobs, crash=crashes)
    def capture(self, job: Call, crash: Crash | None) -> Any:
        return self._remember(self._settle(job, percent=100), crash)

    @rule(target=calls, job=jobs, crash=crashes)
    def release(self, job: Call, crash: Crash | None) -> Any:
        return self._remember(self._settle(job, percent=0), crash)

    @rule(target=calls, job=jobs, percent=percents, crash=crashes)
    def capture_a_part(self, job: Call, percent: int, crash: Crash | None) -> Any:
        return self._remember(self._settle(job, percent), crash)

    @precondition(lambda self: self.plain.holds)
    @rule(target=calls, percent=percents, grant=grants, named=st.booleans(), crash=crashes)
    def refund(self, percent: int, grant: Call, named: bool, crash: Crash | None) -> Any:
        amount = max(1, grant.arguments["amount"] * percent // 100)
        of = grant.arguments["reference"] if named else None
        arguments = {"amount": amount, "reference": str(new_id()), "grant_reference": of}
        return self._remember(Call("claw_back", arguments), crash)

    @precondition(lambda self: self.plain.due(self.now))
    @rule(crash=crashes)
    def expire(self, crash: Crash | None) -> None:
        self._transact([Call("expire_grants")], crash)

    @precondition(lambda self: not self.waited)
    @rule(by=hours)
    def time_passes(self, by: int) -> None:
        Ledger.steps += 1
        self.waited = True
        self.now += timedelta(hours=by)

    @rule(call=calls, other=st.none() | st.none() | st.integers(1, 40), crash=crashes)
    def replay(self, call: Call, other: int | None, crash: Crash | None) -> None:
        """The same call again, or one that contradicts it."""
        if other is not None:
            amount = "cost" if call.function == "settle" else "amount"
            call = Call(call.function, {**call.arguments, amount: other})
        self._transact([call], crash)

    @precondition(lambda self: self.plain.balance(self.now).available)
    @rule(earlier=st.lists(calls, max_size=2), percent=percents, after=st.integers(0, 4), manner=manners)
    def several_at_once(self, earlier: list[Call], percent: int, after: int, manner: Manner) -> None:
        job = self._hold(percent)
        calls = [job, *earlier, self._settle(job, percent)]
        self._transact(calls, Crash(after, manner) if after <= len(calls) else None)

    def _hold(self, percent: int) -> Call:
        """For a new job, as much of what is available as that."""
        amount = max(1, self.plain.balance(self.now).available * percent // 100)
        return Call("hold", {"job_id": new_id(), "amount": amount})

    def _settle(self, job: Call, percent: int) -> Call:
        arguments = job.arguments
        return Call("settle", {"job_id": arguments["job_id"], "cost": arguments["amount"] * percent // 100})

    @invariant()
    def every_balance_is_that_of_the_plain_ledger(self) -> None:
        rows, balance = self.runner.run(self._look())
        assert {account: balance for account, balance, _ in rows if balance} == self.plain.accounts()
        assert all(balance == entered for _, balance, entered in rows)
        assert all(balance >= 0 or account == "house" for account, balance, _ in rows)
        assert sum(entered for *_, entered in rows) == 0
        assert balance == self.plain.balance(self.now)

    @invariant()
    def who_owes_has_nothing(self) -> None:
        balance = self.plain.balance(self.now)
        assert not (balance.owed and balance.available)

    def teardown(self) -> None:
        """No drift; and no credits left that a later example's expiry would meet."""
        self.now += timedelta(days=365)
        self.expire(None)
        self.every_balance_is_that_of_the_plain_ledger()
        assert self.runner.run(self._drift()) == []

    def _remember(self, call: Call, crash: Crash | None) -> Any:
        """The call, to be made again; nothing where it was refused."""
        return call if self._transact([call], crash) else multiple()

    def _transact(self, calls: list[Call], crash: Crash | None) -> bool:
        """Make the calls in one transaction of each ledger and compare the answers; whether it committed."""
        Ledger.steps += 1
        self.waited = False
        plain = copy.deepcopy(self.plain)
        expected = self._explain(plain, calls, crash)
        assert self.runner.run(self._happen(calls, crash)) == expected
        committed = not expected or not isinstance(expected[-1], tuple)
        if committed:
            self.plain = plain
        return committed

    def _explain(self, plain: PlainLedger, calls: list[Call], crash: Crash | None) -> list[Any]:
        answers: list[Any] = []
        try:
            for number, call in enumerate(calls):
                if crash is not None and crash.after == number:
                    raise Crashed
                answers.append(getattr(plain, call.function)(**call.arguments, now=self.now))
            if crash is not None:
                raise Crashed
        except (Crashed, LedgerError) as error:
            answers.append(_told(error))
        return answers

    async def _happen(self, calls: list[Call], crash: Crash | None) -> list[Any]:
        answers: list[Any] = []
        try:
            async with self.database.session() as session:
                for number, call in enumerate(calls):
                    if crash is not None and crash.after == number:
                        await self._crash(session, crash.manner)
                    answers.append(await self._call(session, call))
                if crash is not None:
                    await self._crash(session, crash.manner)
        except (Crashed, LedgerError) as error:
            answers.append(_told(error))
        return answers

    async def _call(self, session: AsyncSession, call: Call) -> Any:
        arguments: dict[str, Any] = {**call.arguments, "now": self.now}
        if call.function == "expire_grants":
            await ledger.expire_grants(session, **arguments, limit=1000)
            return None
        if call.function == "hold":
            arguments["api_key_id"] = None
        answer = await getattr(ledger, call.function)(
            session, organization_id=self.organization_id, **arguments
        )
        return None if call.function == "grant" else answer

    async def _crash(self, session: AsyncSession, manner: Manner) -> None:
        if manner is Manner.KILLED:
            connection = await session.connection()
            pid = await connection.scalar(text("SELECT pg_backend_pid()"))
            async with self.database.session() as another:
                await (await another.connection()).execute(
                    text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": pid}
                )
            with pytest.raises(DATABASE_ERRORS):
                await connection.execute(text("SELECT 1"))
        raise Crashed

    async def _look(self) -> tuple[list[tuple[str, int, int]], ledger.Balance]:
        async with self.database.session() as session:
            connection = await session.connection()
            rows = await connection.execute(BALANCES, {"organization_id": self.organization_id})
            balance = await ledger.balance(session, self.organization_id, self.now)
            return [(row.account, row.balance, int(row.entered)) for row in rows], balance

    async def _drift(self) -> list[str]:
        async with self.database.session() as session:
            return [example for finding in await verify(session) for example in finding.examples]

    async def _make_organization(self) -> UUID:
        async with self.database.session() as session:
            slug = str(new_id())
            return (await create_organization(session, slug=slug, name=slug)).id


def _told(error: Exception) -> tuple[Any, ...]:
    """What tells one failure from another."""
    numbers = (error.required, error.available) if isinstance(error, NotEnoughCredits) else ()
    return (type(error), *numbers)


@pytest.fixture
def machine(urls: DatabaseUrls) -> Iterator[type[Ledger]]:
    Ledger.steps = 0
    with asyncio.Runner() as runner:
        database = Database(urls.owner, pool_size=2)
        yield lambda: Ledger(runner, database)  # type: ignore[misc]
        runner.run(database.close())


def test_no_history_of_calls_replays_and_crashes_makes_the_ledger_lie(machine: type[Ledger]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=HISTORIES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert Ledger.steps >= 2000
