"""The operator's commands, on a migrated database."""

from __future__ import annotations

import asyncio
import json
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import select
from typer.testing import CliRunner, Result

from impasto_core.api_keys.scopes import DEFAULT_SCOPES
from impasto_core.api_keys.tables import ApiKey
from impasto_core.api_keys.tokens import parse
from impasto_core.models.service import find_model, folder_digest
from impasto_core.models.tables import Model
from impasto_ctl import development
from impasto_ctl.commands.up import run_to_end
from impasto_ctl.database import owner_session
from impasto_ctl.errors import ControlError
from impasto_ctl.main import app
from impasto_ctl.state import StateDirectory
from tests.support.databases import DatabaseUrls

PEPPER = "a pepper for tests"


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No state directory of whoever runs the tests is found, and none of their settings."""
    monkeypatch.chdir(tmp_path)
    for name in ("IMPASTO_DATABASE_URL", "IMPASTO_API_KEY_PEPPER", "IMPASTO_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def owned(urls: DatabaseUrls, monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment names an installation; the owner's URL."""
    monkeypatch.setenv("IMPASTO_DATABASE_URL", urls.owner)
    monkeypatch.setenv("IMPASTO_API_KEY_PEPPER", PEPPER)
    return urls.owner


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def stored_key(owner_url: str, token: str) -> ApiKey:
    async def find() -> ApiKey:
        async with owner_session(owner_url) as session:
            query = select(ApiKey).where(ApiKey.lookup_id == parse(token).lookup_id)
            return (await session.exec(query)).one()

    return asyncio.run(find())


def stored_model(owner_url: str, slug: str) -> Model | None:
    async def find() -> Model | None:
        async with owner_session(owner_url) as session:
            return await find_model(session, slug)

    return asyncio.run(find())


def test_an_organization_is_made_once(owned: str) -> None:
    assert run("organizations", "create", "acme", "--name", "Acme Corporation").output.startswith("org_")
    again = run("organizations", "create", "acme")
    assert again.exit_code == 1
    assert "There is an organization acme already." in again.output


def test_a_key_is_printed_alone_and_opens_what_it_should(owned: str) -> None:
    run("organizations", "create", "acme")
    token = run("keys", "create", "acme").output.strip()
    key = stored_key(owned, token)
    assert parse(token).matches(key.token_hash, PEPPER)
    assert (key.mode, key.expires_at, key.scopes) == ("live", None, sorted(DEFAULT_SCOPES))


def test_a_key_can_be_narrow_and_short_lived(owned: str) -> None:
    run("organizations", "create", "acme")
    made = run(
        "keys", "create", "acme", "--mode", "test", "--scope", "jobs:read", "--days", "90", "--name", "ci"
    )
    key = stored_key(owned, made.output.strip())
    assert (key.name, key.mode, key.scopes) == ("ci", "test", ["jobs:read"])
    assert key.expires_at is not None
    assert abs(key.expires_at - datetime.now(UTC) - timedelta(days=90)) < timedelta(minutes=5)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["keys", "create", "nobody"], "There is no organization nobody"),
        (
            ["keys", "create", "acme", "--scope", "jobs:paint"],
            "Unknown scope jobs:paint. There are: jobs:read,",
        ),
        (["models", "add", "big", "./nowhere"], "There is no folder"),
        (["models", "add", "big", "s3://models/big"], "needs its --digest"),
        (["models", "add", "big", ".", "--pool", "gpu 1"], "'gpu 1' is no pool"),
    ],
)
def test_a_mistake_is_told_in_words(owned: str, arguments: list[str], complaint: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert complaint in result.output
    assert "Traceback" not in result.output


def test_without_an_installation_it_asks_which(tmp_path: Path) -> None:
    result = run("keys", "create", "acme")
    assert result.exit_code == 1
    assert "Which database?" in result.output
    assert list(tmp_path.iterdir()) == []


def test_without_the_pepper_no_key_is_made(owned: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run("organizations", "create", "acme")
    monkeypatch.delenv("IMPASTO_API_KEY_PEPPER")
    result = run("keys", "create", "acme")
    assert result.exit_code == 1
    assert "Set IMPASTO_API_KEY_PEPPER" in result.output


def test_a_database_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPASTO_DATABASE_URL", "postgresql://owner:secret@127.0.0.1:1/impasto")
    result = run("organizations", "create", "acme")
    assert result.exit_code == 1
    assert "PostgreSQL cannot be reached at 127.0.0.1:1" in result.output
    assert "secret" not in result.output


def test_a_folder_becomes_a_model_and_its_digest_is_told(owned: str, tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny/model_index.json").write_text("{}")
    added = run("models", "add", "tiny", "tiny", "--width", "256", "--height", "128", "--pool", "cpu")
    digest = folder_digest(tmp_path / "tiny")
    assert added.output == f"tiny {digest}\n"
    model = stored_model(owned, "tiny")
    assert model is not None
    assert (model.source, model.pool) == ((tmp_path / "tiny").as_uri(), "cpu")
    assert (model.default_width, model.default_height) == (256, 128)

    run("models", "add", "tiny", "s3://models/tiny", "--digest", digest)
    assert run("models", "list").output == f"tiny  default  s3://models/tiny  {digest}\n"


def test_migrate_goes_down_and_up_again(owned: str) -> None:
    assert run("migrate", "--down", "0001").exit_code == 0
    assert "The schema is at head." in run("migrate").output
    without_plans = run("organizations", "create", "acme")
    assert without_plans.exit_code == 1
    assert "impastoctl plans sync" in without_plans.output
    assert "free: added" in run("plans", "sync").output
    assert run("organizations", "create", "acme").exit_code == 0


def test_the_contract_is_written_without_a_server(tmp_path: Path) -> None:
    assert run("openapi", "export", "openapi.json").exit_code == 0
    document = json.loads((tmp_path / "openapi.json").read_text())
    assert document["openapi"].startswith("3.1")
    assert document == json.loads(run("openapi", "export").output)


@pytest.mark.parametrize(
    "command", [(), ("up",), ("migrate",), ("keys", "create"), ("models", "add"), ("openapi", "export")]
)
def test_help_explains(command: tuple[str, ...]) -> None:
    shown = run(*command, "--help")
    assert shown.exit_code == 0
    assert "impastoctl" in shown.output


def test_the_development_key_is_made_once_and_anew_when_it_opens_nothing(
    urls: DatabaseUrls, tmp_path: Path
) -> None:
    state = StateDirectory(tmp_path / "state")

    def key(pepper: str = PEPPER) -> str:
        return asyncio.run(development.development_key(urls.owner, state, pepper))

    first = key()
    assert key() == first
    other_pepper = key(secrets.token_hex())
    assert other_pepper != first
    (state.path / "api_key").write_text("not a token\n")
    assert key() not in {first, other_pepper}


def test_the_demo_model_is_installed_once_and_stays_as_an_operator_left_it(urls: DatabaseUrls) -> None:
    async def models() -> list[tuple[str, bool]]:
        async with owner_session(urls.owner) as session:
            return [(model.slug, model.enabled) for model in await session.exec(select(Model))]

    async def disable() -> None:
        async with owner_session(urls.owner) as session:
            for model in await session.exec(select(Model)):
                model.enabled = False

    asyncio.run(development.install_demo_model(urls.owner))
    assert asyncio.run(models()) == [("impasto-shapes", True)]
    asyncio.run(disable())
    asyncio.run(development.install_demo_model(urls.owner))
    assert asyncio.run(models()) == [("impasto-shapes", False)]


def test_a_command_killed_by_a_signal_ends_as_a_shell_would_tell_it() -> None:
    assert run_to_end(["sh", "-c", "kill -TERM $$"], {}, meanwhile=lambda: None) == 143


def test_a_command_that_does_not_exist_is_told_in_words() -> None:
    with pytest.raises(ControlError, match="no-such-command cannot be run: No such file or directory"):
        run_to_end(["no-such-command"], {}, meanwhile=lambda: None)


def test_a_command_does_not_outlive_what_it_runs_against() -> None:
    def fail() -> None:
        raise ControlError("PostgreSQL ended")

    with pytest.raises(ControlError, match="PostgreSQL ended"):
        run_to_end(["sleep", "600"], {}, meanwhile=fail)


def test_a_catalogue_needs_a_python_with_invokeai(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "python")
    result = run("catalogue", "export", str(tmp_path / "nodes.gz"), "--worker-python", nowhere)
    assert result.exit_code == 1
    assert f"{nowhere} cannot be run" in result.output
    assert list(tmp_path.iterdir()) == []
