"""What the database refuses, whoever asks and whatever the code above it does."""

from __future__ import annotations

from itertools import product

import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError

from impasto_billing.ledger import service as ledger
from impasto_billing.ledger.tables import GrantSource
from impasto_core.database import Database, Role
from impasto_core.ids import new_id
from tests.billing.ledger.books import Books, execute

TABLES = ("credit_grants", "ledger_accounts", "ledger_transactions", "ledger_entries")

WRITES = (
    "UPDATE {table} SET organization_id = organization_id",
    "DELETE FROM {table}",
    "TRUNCATE {table} CASCADE",
    "INSERT INTO {table} (organization_id) SELECT organization_id FROM {table}",
)

FUNCTIONS = {
    "hold": "SELECT hold_credits(:organization, gen_random_uuid(), 1, NULL, NULL)",
    "settle": "SELECT settle_credits(:organization, CAST(:job AS uuid), 1, NULL)",
    "grant": "SELECT grant_credits(:organization, 'purchase', 5, 1, NULL, NULL, 'invoice', '', NULL)",
    "claw back": "SELECT claw_back_credits(:organization, 1, 'refund', NULL, NULL)",
    "expire": "SELECT expire_credits(now(), 1)",
    "record": "SELECT record_movement(:organization, 'grant', 'mine', '{}', '{}')",
    "lock": "SELECT lock_ledger(:organization)",
    "repay": "SELECT repay_credits(:organization, 'mine', now())",
}
MAY = {
    Role.API: {"hold", "settle"},
    Role.WORKER: {"settle", "expire"},
    Role.PAYMENTS: {"grant", "claw back"},
}


@pytest.fixture
def process(request: pytest.FixtureRequest, books: Books) -> Database:
    """The database as the role of the parameter sees it."""
    return {Role.API: books.api, Role.WORKER: books.worker, Role.PAYMENTS: books.payments}[request.param]


processes = pytest.mark.parametrize("process", list(MAY), indirect=True)


@processes
async def test_no_process_writes_to_the_ledger_itself(
    books: Books, process: Database, subtests: pytest.Subtests
) -> None:
    await books.grant(10)
    for table, write in product(TABLES, WRITES):
        statement = write.format(table=table)
        with (
            subtests.test(statement),
            pytest.raises(ProgrammingError, match=f"permission denied for table {table}"),
        ):
            await execute(process, statement, organization_id=books.organization_id)


async def test_not_even_its_owner_rewrites_the_ledger(books: Books, subtests: pytest.Subtests) -> None:
    await books.grant(10)
    for table, write in product(TABLES, WRITES[:3]):
        statement = write.format(table=table)
        with (
            subtests.test(statement),
            pytest.raises(
                ProgrammingError, match=r"the ledger is append-only: no (UPDATE|DELETE|TRUNCATE) of"
            ),
        ):
            await execute(books.owner, statement)


async def test_a_balance_follows_from_entries_only(books: Books) -> None:
    await books.grant(10)
    with pytest.raises(ProgrammingError, match="the ledger is append-only: no UPDATE of ledger_accounts"):
        await execute(books.owner, "UPDATE ledger_accounts SET balance = balance + 1 WHERE kind = 'grant'")
    with pytest.raises(IntegrityError, match="an account opens with a balance of 0"):
        await execute(
            books.owner,
            "INSERT INTO ledger_accounts (id, organization_id, kind, balance)"
            " VALUES (gen_random_uuid(), gen_random_uuid(), 'spent', 5)",
        )


@pytest.mark.parametrize("function", FUNCTIONS)
@processes
async def test_a_process_moves_credits_only_as_its_work_needs(
    request: pytest.FixtureRequest, books: Books, process: Database, function: str
) -> None:
    await books.grant(10)
    job_id = await books.hold(3)
    organization_id = books.organization_id
    values = {"organization": organization_id} if function != "expire" else {}
    if function == "settle":
        values["job"] = job_id
    call = execute(process, FUNCTIONS[function], organization_id=organization_id, **values)
    if function in MAY[request.node.callspec.params["process"]]:
        await call
    else:
        with pytest.raises(ProgrammingError, match="permission denied for function"):
            await call


@pytest.mark.parametrize(
    ("process", "function"),
    [(role, function) for role in (Role.API, Role.PAYMENTS) for function in sorted(MAY[role])],
    indirect=["process"],
)
@pytest.mark.parametrize("scope", ["of another organization", "of none"])
async def test_credits_are_moved_of_the_organization_of_the_transaction_only(
    books: Books, other_books: Books, process: Database, function: str, scope: str
) -> None:
    await other_books.grant(10)
    job_id = await other_books.hold(3)
    own = books.organization_id if scope == "of another organization" else None
    values = {"organization": other_books.organization_id}
    if function == "settle":
        values["job"] = job_id
    with pytest.raises(ProgrammingError, match="the transaction is of another organization"):
        await execute(process, FUNCTIONS[function], organization_id=own, **values)
    assert await other_books.movements() == ["grant", "hold"]


@pytest.mark.parametrize("source", [GrantSource.MANUAL, GrantSource.PROMOTION])
async def test_payments_give_nothing_away(books: Books, source: GrantSource) -> None:
    with pytest.raises(ProgrammingError, match=f"credits of source {source} are granted by an operator"):
        async with books.payments.tenant(books.organization_id) as session:
            await ledger.grant(
                session, organization_id=books.organization_id, source=source, amount=1, reference="mine"
            )


async def test_the_api_reads_the_ledger_of_its_own_organization(books: Books, other_books: Books) -> None:
    for each in (books, other_books):
        await each.grant(10)
    assert await books.available() == 10
    async with books.api.tenant(books.organization_id) as session:
        others = await ledger.balance(session, other_books.organization_id, books.now)
    assert others.available == 0


SPENT = "(SELECT id FROM ledger_accounts WHERE organization_id = :mine AND kind = 'spent')"
HOUSE = SPENT.replace("spent", "house")
THEIRS = SPENT.replace("=", "<>", 1)
NEW = (
    "WITH movement AS (INSERT INTO ledger_transactions"
    " (id, organization_id, kind, business_key, description, created_at)"
    " VALUES (gen_random_uuid(), :mine, 'grant', 'forged', '', now()) RETURNING id)"
    " INSERT INTO ledger_entries (transaction_id, account_id, organization_id, amount)"
    " SELECT movement.id, account, :mine, amount FROM movement, (VALUES {}) AS entry (account, amount)"
)


@pytest.mark.parametrize(
    ("forged", "complaint"),
    [
        (f"({SPENT}, 5)", "must sum to zero"),
        (f"({SPENT}, 5), ({HOUSE}, -4)", "must sum to zero"),
        (f"({SPENT}, 0), ({HOUSE}, 0)", "ck_ledger_entries_amount"),
        (f"({SPENT}, -5), ({HOUSE}, 5)", "ck_ledger_accounts_balance"),
        (f"({SPENT}, 5), (gen_random_uuid(), -5)", "fk_ledger_entries_account_id"),
        (f"({THEIRS}, 5), ({HOUSE}, -5)", "stays within one organization"),
    ],
)
async def test_entries_that_do_not_add_up_are_refused(
    books: Books, other_books: Books, forged: str, complaint: str
) -> None:
    for each in (books, other_books):
        await each.grant(10)
    with pytest.raises(DBAPIError, match=complaint):
        await execute(books.owner, NEW.format(forged), mine=books.organization_id)
    assert await books.movements() == ["grant"]


async def test_a_transaction_takes_no_further_entries_balanced_or_not(books: Books) -> None:
    await books.grant(10)
    more = (
        "INSERT INTO ledger_entries (transaction_id, account_id, organization_id, amount)"
        " SELECT movement.id, account.id, :mine, CASE account.kind WHEN 'spent' THEN 5 ELSE -5 END"
        " FROM ledger_transactions AS movement, ledger_accounts AS account"
        " WHERE account.kind IN ('spent', 'owed')"
    )
    with pytest.raises(IntegrityError, match="a transaction takes no further entries"):
        await execute(books.owner, more, mine=books.organization_id)


async def test_a_business_key_is_used_once(books: Books) -> None:
    await books.grant(10, "invoice")
    again = NEW.replace("'forged'", "'grant:invoice'").format(f"({SPENT}, 5), ({HOUSE}, -5)")
    with pytest.raises(IntegrityError, match="uq_ledger_transactions_organization_id_business_key"):
        await execute(books.owner, again, mine=books.organization_id)


async def test_an_organization_with_a_ledger_cannot_be_deleted(books: Books) -> None:
    await books.grant(10)
    with pytest.raises(IntegrityError, match="violates foreign key constraint"):
        await execute(
            books.owner,
            "DELETE FROM organizations WHERE id = :organization",
            organization=books.organization_id,
        )
    assert await books.available() == 10


async def test_the_ledger_outlives_jobs_it_knows_nothing_of(books: Books) -> None:
    await books.grant(10)
    job_id = await books.hold(4, new_id())
    await books.settle(job_id, 4)
    assert await books.drift() == []
