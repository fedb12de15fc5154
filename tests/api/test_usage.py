"""Usage and credits: what is shown is what the ledger says, to nobody but its owner."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text, update
from sqlmodel import col, select

from impasto_api.usage import endpoints
from impasto_billing.ledger import service as ledger
from impasto_billing.ledger.tables import AccountKind, GrantSource, LedgerAccount
from impasto_core.database import Database
from impasto_core.jobs.errors import JobError
from impasto_core.jobs.tables import Job
from impasto_core.settings import Settings
from tests.api.conftest import MovableClock
from tests.support.painters import Painter
from tests.support.problems import assert_problem
from tests.support.tenants import Tenant, register_model

REQUEST: dict[str, Any] = {"pipeline": "text-to-image", "input": {"prompt": "a big red heart"}}


class Desk:
    """Jobs that end at once, on the days that a test wants."""

    def __init__(self, client: httpx.AsyncClient, painter: Painter, owner: Database) -> None:
        self.client = client
        self._painter = painter
        self._owner = owner

    async def paint(self, *, days_ago: int = 0, ending: str = "succeeded", **input_: Any) -> dict[str, Any]:
        body = {**REQUEST, "input": {**REQUEST["input"], **input_}}
        created = await self.client.post("/v1/jobs", json=body)
        assert created.status_code == 202, created.text
        job = await self._painter.claim()
        if ending == "failed":
            await self._painter.fail(job, JobError(code="node-failed", message="no"))
        else:
            await self._painter.succeed(job)
        async with self._owner.session() as session:
            moment = datetime.now(UTC) - timedelta(days=days_ago)
            times = {"started_at": moment - timedelta(seconds=2), "finished_at": moment}
            await session.exec(update(Job).where(col(Job.id) == job.id).values(**times))
        shown: dict[str, Any] = (await self.client.get(f"/v1/jobs/{created.json()['id']}")).json()
        return shown

    async def usage(self, **query: Any) -> list[dict[str, Any]]:
        response = await self.client.get("/v1/usage", params=query)
        assert response.status_code == 200, response.text
        rows: list[dict[str, Any]] = response.json()["data"]
        return rows


@pytest.fixture
def desk(client: httpx.AsyncClient, painter: Painter, owner_database: Database) -> Desk:
    return Desk(client, painter, owner_database)


async def test_usage_is_what_the_jobs_of_a_day_made_and_cost(
    desk: Desk, owner_database: Database, tenant: Tenant
) -> None:
    jobs = [await desk.paint(n=2), await desk.paint(ending="failed"), await desk.paint(days_ago=3)]
    today, earlier = await desk.usage()
    assert today["day"] == f"{datetime.now(UTC):%Y-%m-%d}"
    assert (today["jobs_succeeded"], today["jobs_failed"], today["jobs_canceled"]) == (1, 1, 0)
    assert (today["images"], today["gpu_seconds"]) == (2, 4.0)
    assert today["model"] is today["api_key_id"] is None
    assert today["credits"] == jobs[0]["cost"]["amount"] > 0
    assert (earlier["jobs_succeeded"], earlier["images"]) == (1, 1)
    assert earlier["credits"] == jobs[2]["cost"]["amount"]
    async with owner_database.session() as session:
        spent = (
            await session.exec(
                select(LedgerAccount.balance).where(
                    LedgerAccount.organization_id == tenant.organization_id,
                    LedgerAccount.kind == AccountKind.SPENT,
                )
            )
        ).one()
    assert today["credits"] + earlier["credits"] == spent


async def test_usage_can_be_told_apart_by_model_and_key(
    desk: Desk, owner_database: Database, base_url: str
) -> None:
    await register_model(owner_database, "another")
    await desk.paint()
    await desk.paint(model="another")
    key = (await desk.client.post("/v1/api-keys", json={"name": "second"})).json()
    desk.client.headers["Authorization"] = f"Bearer {key['secret']}"
    await desk.paint(model="another")

    by_model = await desk.usage(group_by="model")
    assert [(row["model"], row["jobs_succeeded"]) for row in by_model] == [
        ("impasto-shapes", 1),
        ("another", 2),
    ]
    by_key = await desk.usage(group_by="api_key")
    assert {(row["api_key_name"], row["jobs_succeeded"]) for row in by_key} == {("tests", 2), ("second", 1)}
    assert key["id"] in {row["api_key_id"] for row in by_key}
    assert len(await desk.usage(group_by="day,model,api_key")) == 3
    assert len(await desk.usage(group_by=["model", "api_key"])) == 3


async def test_usage_comes_in_pages(desk: Desk) -> None:
    for days_ago in (0, 0, 1, 2, 5):
        await desk.paint(days_ago=days_ago)
    pages, cursor = [], None
    while True:
        query = {"limit": 1, "cursor": cursor} if cursor else {"limit": 1}
        page = (await desk.client.get("/v1/usage", params=query)).json()
        pages.append(page["data"])
        cursor = page["next_cursor"]
        assert page["has_more"] == (cursor is not None)
        if cursor is None:
            break
    assert [row for page in pages for row in page] == await desk.usage()
    assert [row["jobs_succeeded"] for [row] in pages] == [2, 1, 1, 1]


async def test_usage_is_of_the_days_asked_for(desk: Desk) -> None:
    for days_ago in (0, 1, 2, 40):
        await desk.paint(days_ago=days_ago)
    today = datetime.now(UTC).date()

    async def days(**query: Any) -> list[int]:
        rows = await desk.usage(**query)
        return [(today - datetime.fromisoformat(row["day"]).date()).days for row in rows]

    assert await days() == [0, 1, 2]
    assert await days(start=str(today - timedelta(days=1))) == [0, 1]
    assert await days(end=str(today - timedelta(days=1))) == [1, 2]
    assert await days(start=str(today - timedelta(days=40)), end=str(today - timedelta(days=2))) == [2, 40]
    assert await days(end="9999-12-31") == []
    assert await days(end="0001-01-01") == []


SENSELESS_QUERIES = [
    ({"start": "2026-11-22", "end": "2026-11-21"}, "start"),
    ({"start": "2025-11-22", "end": "2026-11-23"}, "start"),
    ({"start": "1700000000"}, "start"),
    ({"end": "yesterday"}, "end"),
    ({"group_by": "day,prompt"}, "group_by.1"),
    ({"group_by": ""}, "group_by.0"),
    ({"cursor": "nonsense"}, "cursor"),
    ({"cursor": "WzEsIDIsIDNd"}, "cursor"),
    ({"limit": 101}, "limit"),
]


async def test_what_cannot_be_asked_is_named(client: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    for query, field in SENSELESS_QUERIES:
        with subtests.test(str(query)):
            response = await client.get("/v1/usage", params=query)
            assert_problem(response, 422, "validation-failed", field=field)


async def test_usage_as_csv_is_whole_and_runs_no_formula(
    desk: Desk, owner_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints, "_CHUNK", 2)
    for days_ago in (0, 1, 2, 3, 4):
        await desk.paint(days_ago=days_ago)
    async with owner_database.session() as session:
        await (await session.connection()).execute(text("UPDATE api_keys SET name = '=HYPERLINK(\"x\")'"))
    response = await desk.client.get(
        "/v1/usage", params={"group_by": "day,api_key"}, headers={"Accept": "text/csv"}
    )
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"].startswith('attachment; filename="impasto-usage-')
    rows = list(csv.DictReader(io.StringIO(response.text)))
    shown = await desk.usage(group_by="day,api_key")
    assert [row["day"] for row in rows] == [row["day"] for row in shown]
    assert [int(row["credits"]) for row in rows] == [row["credits"] for row in shown]
    assert {row["api_key_name"] for row in rows} == {'\'=HYPERLINK("x")'}
    assert {row["model"] for row in rows} == {""}


async def test_storage_is_counted_with_the_plans_limit(
    client: httpx.AsyncClient, owner_database: Database, tenant: Tenant
) -> None:
    assert (await client.get("/v1/usage/storage")).json() == {
        "object": "storage_usage",
        "used_bytes": 0,
        "limit_bytes": None,
    }
    await client.post("/v1/uploads", json={"content_type": "image/png", "size": 4321})
    assert (await client.get("/v1/usage/storage")).json()["used_bytes"] == 4321


async def test_the_balance_shows_what_is_held_and_what_soon_expires(
    client: httpx.AsyncClient, owner_database: Database, tenant: Tenant, clock: MovableClock
) -> None:
    now = clock()
    async with owner_database.session() as session:
        for amount, days in ((70, 3), (900, 30)):
            await ledger.grant(
                session,
                organization_id=tenant.organization_id,
                source=GrantSource.PROMOTION,
                amount=amount,
                priority=50,
                valid_until=now + timedelta(days=days),
                reference=f"promotion-{days}",
            )
    before = (await client.get("/v1/credits")).json()
    assert (before["available"], before["held"], before["owed"]) == (1_000_970, 0, 0)
    assert before["expiring_soon"] == 70
    assert datetime.fromisoformat(before["next_expiry"]) == now + timedelta(days=3)
    job = (await client.post("/v1/jobs", json=REQUEST)).json()
    after = (await client.get("/v1/credits")).json()
    assert after["held"] == job["quote"]["amount"]
    assert after["available"] + after["held"] == before["available"]
    clock.advance(days=4)
    later = (await client.get("/v1/credits")).json()
    assert later["available"] == after["available"] - 70
    assert later["expiring_soon"] == 0


async def test_grants_show_what_is_left_of_them(client: httpx.AsyncClient) -> None:
    job = (await client.post("/v1/jobs", json=REQUEST)).json()
    [grant] = (await client.get("/v1/credits/grants")).json()["data"]
    assert grant["id"].startswith("grant_")
    assert (grant["source"], grant["amount"]) == ("manual", 1_000_000)
    assert grant["remaining"] == 1_000_000 - job["quote"]["amount"]


async def test_every_movement_is_an_entry_and_all_of_them_are_the_balance(desk: Desk) -> None:
    succeeded, failed = await desk.paint(n=2), await desk.paint(ending="failed")
    await desk.client.post("/v1/jobs", json=REQUEST)
    entries: list[dict[str, Any]] = []
    cursor = None
    while cursor is not None or not entries:
        query = {"limit": 2, "cursor": cursor} if cursor else {"limit": 2}
        page = (await desk.client.get("/v1/credits/entries", params=query)).json()
        entries += page["data"]
        cursor = page["next_cursor"]
    assert [entry["kind"] for entry in entries] == ["hold", "settle", "hold", "settle", "hold", "grant"]
    cost = succeeded["cost"]["amount"]
    assert [entry["spent"] for entry in entries] == [0, 0, 0, cost, 0, 0]
    assert [entry["job_id"] for entry in entries[1:5]] == [failed["id"]] * 2 + [succeeded["id"]] * 2
    assert {entry["api_key_id"] is None for entry in entries[:5]} == {False}
    balance = (await desk.client.get("/v1/credits")).json()
    for part in ("available", "held"):
        assert sum(entry[part] for entry in entries) == balance[part]


async def test_without_the_scope_nothing_is_told(client: httpx.AsyncClient, settings: Settings) -> None:
    key = (await client.post("/v1/api-keys", json={"name": "narrow", "scopes": ["jobs:read"]})).json()
    headers = {"Authorization": f"Bearer {key['secret']}"}
    for path in ("usage", "usage/storage", "credits", "credits/grants", "credits/entries"):
        assert_problem(await client.get(f"/v1/{path}", headers=headers), 403, "forbidden")
