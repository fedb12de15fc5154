"""Making, configuring and closing a client."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

import impasto
from impasto import AsyncImpasto, Impasto, ImpastoError
from tests.sdk import samples
from tests.sdk.conftest import COLOURS, Sdk
from tests.sdk.scripted_server import ScriptedServer, answer

both = pytest.mark.parametrize("kind", COLOURS)


@both
async def test_key_and_url_come_from_the_environment(
    kind: Any, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMPASTO_API_KEY", "imp_live_from_env")
    monkeypatch.setenv("IMPASTO_BASE_URL", server.url + "/v1/")
    server.will(answer(200, samples.job()))
    sdk = Sdk(kind())
    await sdk(lambda client: client.jobs.get("job_1"))
    await sdk(lambda client: client.close())
    assert server.received[0].path == "/v1/jobs/job_1"
    assert server.received[0].headers["authorization"] == "Bearer imp_live_from_env"


@both
def test_without_a_key_there_is_no_client(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMPASTO_API_KEY", raising=False)
    with pytest.raises(ImpastoError, match="IMPASTO_API_KEY"):
        kind()


@both
def test_a_base_url_must_be_one(kind: Any) -> None:
    with pytest.raises(ImpastoError, match="http"):
        kind("key", base_url="api.impasto.dev")


@both
def test_the_key_is_not_shown(kind: Any) -> None:
    client = kind("imp_live_secret")
    assert repr(client) == f"{kind.__name__}(base_url='https://api.impasto.dev')"
    assert "imp_live_secret" not in repr(vars(client))


async def test_options_change_a_copy_and_keep_the_connections(sdk: Sdk, server: ScriptedServer) -> None:
    assert sdk.client.jobs is sdk.client.jobs
    other = sdk.client.with_options(timeout=3, max_retries=7)
    assert other._core.timeout == httpx.Timeout(3)
    assert other._core.max_retries == 7
    assert other.jobs._core is other._core
    assert sdk.client._core.timeout == httpx.Timeout(10)
    assert other._core.io is sdk.client._core.io


async def test_a_client_closes_what_it_opened_and_nothing_else(server: ScriptedServer) -> None:
    server.will(*[answer(200, samples.job())] * 3)
    with Impasto("key", base_url=server.url) as client:
        client.jobs.get("job_1")
        http = client._core.io.client
    assert http.is_closed
    async with AsyncImpasto("key", base_url=server.url) as async_client:
        await async_client.jobs.get("job_1")
        async_http = async_client._core.io.client
    assert async_http.is_closed
    with httpx.Client(headers={"x-gateway": "mine"}, auth=("user", "password")) as mine:
        with Impasto("key", base_url=server.url, http_client=mine) as client:
            client.jobs.get("job_1")
        assert not mine.is_closed
    assert server.received[-1].headers["x-gateway"] == "mine"
    assert server.received[-1].headers["authorization"] == "Bearer key"
    with Impasto("key") as never_used:
        assert "client" not in vars(never_used)


@both
def test_help_shows_what_a_method_takes(kind: Any) -> None:
    import inspect

    client = kind("key")
    assert [*inspect.signature(client.jobs.get).parameters] == ["job_id"]
    assert "prompt" in inspect.signature(client.images.generate).parameters
    assert "A prompt in" in client.images.generate.__doc__
    assert kind("key").jobs.__class__.get.__doc__ == client.jobs.get.__doc__


def test_every_public_name_is_there_for_type_checkers_and_at_run_time() -> None:
    declared = re.findall(r"import (\w+) as \1", Path(impasto.__file__).read_text())
    assert sorted(declared) == sorted(dir(impasto))
    for name in dir(impasto):
        assert getattr(impasto, name) is not None
    with pytest.raises(AttributeError, match="paint"):
        impasto.paint  # type: ignore[attr-defined]  # noqa: B018


def modules_after(code: str) -> set[str]:
    script = f"import sys; before = set(sys.modules); {code}; print(*set(sys.modules) - before)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing_else() -> None:
    modules = modules_after("import impasto")
    assert {name for name in modules if name.startswith("impasto")} == {"impasto", "impasto._version"}
    assert not modules & {"httpx", "pydantic"}


def test_a_client_loads_its_resources_when_they_are_used() -> None:
    modules = modules_after("import impasto; impasto.Impasto('key')")
    assert "impasto._client" in modules
    assert not {name for name in modules if name.startswith(("impasto.resources", "impasto.types", "PIL"))}
