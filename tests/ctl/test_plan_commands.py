"""The operator's commands for plans, and what an organization begins with."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from impasto_billing.ledger import service as ledger
from impasto_billing.plans import service as plans
from impasto_billing.plans.plan import PLANS_FILE
from impasto_core.clock import utc_now
from impasto_core.organizations.service import find_organization
from impasto_ctl import development
from impasto_ctl.database import owner_session
from impasto_ctl.main import app
from impasto_ctl.state import StateDirectory
from tests.support.databases import DatabaseUrls


@pytest.fixture
def owned(urls: DatabaseUrls, monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment names an installation; the owner's URL."""
    monkeypatch.setenv("IMPASTO_DATABASE_URL", urls.owner)
    return urls.owner


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def begun_with(owner_url: str, slug: str) -> tuple[str, int | None, int]:
    """The organization's plan, how many jobs it may run at once, and its credits."""

    async def look() -> tuple[str, int | None, int]:
        async with owner_session(owner_url) as session:
            organization = await find_organization(session, slug)
            assert organization is not None
            plan = await plans.plan_of(session, organization.id)
            balance = await ledger.balance(session, organization.id, utc_now())
            return plan.slug, organization.concurrent_jobs, balance.available

    return asyncio.run(look())


def test_an_organization_begins_on_the_free_plan_without_credits(owned: str) -> None:
    assert run("organizations", "create", "acme").exit_code == 0
    assert begun_with(owned, "acme") == ("free", 1, 0)


def test_an_organization_can_be_given_a_plan_and_credits(owned: str) -> None:
    assert run("organizations", "create", "acme", "--plan", "studio", "--credits", "5000").exit_code == 0
    assert begun_with(owned, "acme") == ("studio", 3, 5000)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--plan", "gold"), "There is no plan gold. There are: free, starter, pro, studio, enterprise."),
        (("--credits", "99999999999999999999"), "Nothing was made"),
    ],
)
def test_an_organization_that_cannot_be_given_that_is_not_made(
    owned: str, arguments: tuple[str, ...], complaint: str
) -> None:
    refused = run("organizations", "create", "acme", *arguments)
    assert refused.exit_code == 1
    assert complaint in refused.output
    assert run("organizations", "create", "acme").exit_code == 0


def test_a_plan_is_assigned(owned: str) -> None:
    run("organizations", "create", "acme")
    assert run("plans", "assign", "acme", "studio").output == "acme is on studio.\n"
    assert begun_with(owned, "acme") == ("studio", 3, 0)
    assert run("plans", "assign", "nobody", "studio").exit_code == 1
    assert run("plans", "assign", "acme", "gold").exit_code == 1


def test_a_sync_prints_what_it_changed_and_then_nothing(owned: str, tmp_path: Path) -> None:
    run("organizations", "create", "acme")
    file = tmp_path / "plans.toml"
    file.write_text(PLANS_FILE.read_text().replace("concurrent_jobs = 1\n", "concurrent_jobs = 2\n", 1))
    changes = ["free: concurrent_jobs 1 -> 2", "organizations: 1 weighed anew in the queue"]
    assert run("plans", "sync", "--file", str(file)).output.splitlines() == changes
    assert run("plans", "sync", "--file", str(file)).output == "Nothing changed.\n"
    assert begun_with(owned, "acme") == ("free", 2, 0)


@pytest.mark.parametrize(
    "text",
    ["free = 1", "[free]\nname = 'Free'", "[free", "", "[Free Plan]\n", PLANS_FILE.read_text() + "x=1"],
)
def test_a_file_that_is_wrong_changes_nothing(owned: str, tmp_path: Path, text: str) -> None:
    run("organizations", "create", "acme")
    file = tmp_path / "plans.toml"
    file.write_text(text)
    assert run("plans", "sync", "--file", str(file)).exit_code == 1
    assert run("plans", "sync").output == "Nothing changed.\n"


def test_the_development_organization_gets_its_plan_and_credits_once(owned: str, tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")

    def come_up() -> None:
        asyncio.run(development.development_key(owned, state, "a pepper for tests"))

    come_up()
    assert begun_with(owned, "development") == ("enterprise", None, 1_000_000)
    run("plans", "assign", "development", "free")
    come_up()
    assert begun_with(owned, "development") == ("free", 1, 1_000_000)
