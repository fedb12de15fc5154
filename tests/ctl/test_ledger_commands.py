"""The operator's commands for credits, and the one that looks for drift."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from impasto_ctl.database import owner_session
from impasto_ctl.main import app
from tests.support.databases import DatabaseUrls


@pytest.fixture
def owned(urls: DatabaseUrls, monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment names an installation with an organization, acme; the owner's URL."""
    monkeypatch.setenv("IMPASTO_DATABASE_URL", urls.owner)
    assert run("organizations", "create", "acme").exit_code == 0
    return urls.owner


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def rewrite(owner_url: str, statement: str) -> None:
    """Change the ledger behind its back, as only the owner of its tables could."""

    async def change() -> None:
        async with owner_session(owner_url) as session:
            connection = await session.connection()
            tables = ("credit_grants", "ledger_accounts", "ledger_transactions", "ledger_entries")
            for table in tables:
                await connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
            await connection.execute(text(statement))
            await connection.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
            for table in tables:
                await connection.execute(text(f"ALTER TABLE {table} ENABLE TRIGGER USER"))

    asyncio.run(change())


def test_an_operator_gives_credits(owned: str) -> None:
    assert run("credits", "grant", "acme", "5000").output == "acme has 5000 credits.\n"
    assert run("credits", "grant", "acme", "500", "--source", "promotion", "--days", "30").output == (
        "acme has 5500 credits.\n"
    )


def test_the_same_reference_gives_nothing_a_second_time(owned: str) -> None:
    for _ in range(2):
        assert (
            run("credits", "grant", "acme", "70", "--reference", "sorry").output == "acme has 70 credits.\n"
        )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("nobody", "5"), "There is no organization nobody."),
        (("acme", "0"), "Nothing was granted: 0 credits: from 1 to"),
        (("acme", "--", "-5"), "Nothing was granted: -5 credits: from 1 to"),
        (("acme", "99999999999999999999"), "can be moved at once"),
        (("acme", "5", "--days", "0"), "Nothing was granted: the grant expired"),
    ],
)
def test_a_grant_that_makes_no_sense_is_refused(
    owned: str, arguments: tuple[str, ...], complaint: str
) -> None:
    result = run("credits", "grant", *arguments)
    assert result.exit_code == 1
    assert complaint in result.output


def test_a_sound_ledger_has_zero_drift(owned: str) -> None:
    run("credits", "grant", "acme", "5000")
    result = run("ledger", "verify")
    assert result.exit_code == 0, result.output
    assert result.output.endswith("zero drift\n")


@pytest.mark.drift
@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("UPDATE ledger_accounts SET balance = 1 WHERE kind = 'grant'", "has a balance of 1, its entries"),
        ("UPDATE ledger_entries SET amount = 9 WHERE amount = 5000", "in sum -4991"),
        ("DELETE FROM ledger_entries WHERE amount = 5000", "has 1 entries"),
        ("DELETE FROM ledger_entries", "has 0 entries"),
        ("UPDATE credit_grants SET amount = 6000", "is of 6000 credits"),
        (
            "UPDATE credit_grants SET valid_until = now() + interval '1 day'",
            "its account got 5000 until infinity",
        ),
    ],
)
def test_an_entry_changed_behind_the_ledgers_back_is_found(
    owned: str, statement: str, complaint: str
) -> None:
    run("credits", "grant", "acme", "5000")
    rewrite(owned, statement)
    result = run("ledger", "verify")
    assert result.exit_code == 1
    assert complaint in result.output
    assert "The ledger has drifted" in result.output
    assert "zero drift" not in result.output
