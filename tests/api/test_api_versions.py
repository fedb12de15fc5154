"""Dated versions: a key is pinned to one, a request may name another, every answer says which it is in."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from impasto._version import API_VERSION
from impasto_core.api_versions import LATEST, VERSIONS
from impasto_core.database import Database
from tests.support.problems import assert_problem
from tests.support.tenants import Tenant

JOB = {"pipeline": "text-to-image", "input": {"prompt": "a heart"}}
NEXT = "2031-02-03"


@pytest.fixture
def next_version(monkeypatch: pytest.MonkeyPatch) -> str:
    """One that does not exist yet."""
    monkeypatch.setitem(VERSIONS, NEXT, "Everything is better.")
    return NEXT


async def pin_to(database: Database, tenant: Tenant, version: str) -> None:
    """As if the tenant's keys had been made when this version was the latest."""
    async with database.session() as session:
        await (await session.connection()).execute(
            text("UPDATE api_keys SET api_version = :version WHERE organization_id = :organization"),
            {"version": version, "organization": tenant.organization_id},
        )


def test_versions_are_dates_in_order() -> None:
    assert list(VERSIONS) == sorted(VERSIONS)
    assert all(len(version) == len("2026-11-22") for version in VERSIONS)


def test_the_sdk_was_built_for_the_latest() -> None:
    assert API_VERSION == LATEST


async def test_every_answer_says_which_version_it_is_in(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, app: FastAPI
) -> None:
    answers = [
        await client.post("/v1/jobs", json=JOB),
        await client.get("/v1/jobs/job_1"),
        await client.post("/v1/jobs", content=b"x" * 2_000_000),
        await client.get("/nowhere"),
        await anonymous.get("/v1/jobs"),
        await anonymous.get("/livez"),
    ]
    assert [answer.status_code for answer in answers] == [202, 404, 413, 404, 401, 200]
    for answer in answers:
        assert answer.headers.get_list("impasto-version") == [LATEST]


async def test_an_unexpected_error_says_it_too(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("impasto_api.jobs.service.view", None)
    answer = await client.get(f"/v1/jobs/job_{'0' * 26}")
    assert_problem(answer, 500, "internal-error")
    assert answer.headers.get_list("impasto-version") == [LATEST]


async def test_a_key_goes_on_speaking_the_version_it_was_made_in(
    client: httpx.AsyncClient, tenant: Tenant, owner_database: Database, next_version: str
) -> None:
    await pin_to(owner_database, tenant, next_version)
    assert (await client.get("/v1/jobs")).headers["impasto-version"] == next_version
    [key] = (await client.get("/v1/api-keys")).json()["data"]
    assert key["api_version"] == next_version
    rolled = await client.post(f"/v1/api-keys/{key['id']}/roll", json={"grace_seconds": 60})
    assert rolled.json()["api_version"] == next_version, "a new secret is no reason to break a program"
    made = await client.post("/v1/api-keys", json={"name": "new"})
    assert made.json()["api_version"] == LATEST


async def test_a_request_may_name_another(
    client: httpx.AsyncClient, tenant: Tenant, owner_database: Database, next_version: str
) -> None:
    await pin_to(owner_database, tenant, next_version)
    answer = await client.get("/v1/jobs", headers={"Impasto-Version": LATEST})
    assert answer.headers["impasto-version"] == LATEST


@pytest.mark.parametrize("nonsense", ["", "latest", "2026-11-21", "2026-11-22, 2026-11-22", "x" * 4000])
async def test_a_version_that_does_not_exist_is_refused_and_the_others_are_named(
    client: httpx.AsyncClient, nonsense: str
) -> None:
    answer = await client.post("/v1/jobs", json=JOB, headers={"Impasto-Version": nonsense})
    problem = assert_problem(answer, 400, "unknown-api-version", field="Impasto-Version")
    assert problem["errors"][0]["location"] == "header"
    assert LATEST in problem["detail"]
    assert answer.headers["impasto-version"] == LATEST
    assert (await client.get("/v1/jobs")).json()["data"] == []
