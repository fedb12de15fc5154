"""API keys: made once, shown once, ended at once."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import event, text

from impasto_api.app import create_app
from impasto_api.services import Services
from impasto_core.api_keys.scopes import ALL_SCOPES, DEFAULT_SCOPES
from impasto_core.api_keys.tokens import parse
from impasto_core.clock import utc_now
from impasto_core.database import Database
from impasto_core.settings import Settings
from tests.api.conftest import MovableClock
from tests.support.databases import DatabaseUrls
from tests.support.job_desk import until
from tests.support.problems import assert_problem
from tests.support.servers import serve
from tests.support.tenants import Tenant

Key = dict[str, Any]


async def make_key(client: httpx.AsyncClient, **changes: Any) -> Key:
    response = await client.post("/v1/api-keys", json={"name": "nightly batch"} | changes)
    assert response.status_code == 201, response.text
    key: Key = response.json()
    return key


async def use(anonymous: httpx.AsyncClient, key: Key, path: str = "/v1/jobs") -> httpx.Response:
    return await anonymous.get(path, headers={"Authorization": f"Bearer {key['secret']}"})


def services_of(app: FastAPI) -> Services:
    services: Services = app.state.services
    return services


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """Every statement sent to the database while the block runs."""
    sent: list[str] = []

    def record(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", record)
    yield sent
    event.remove(database.engine.sync_engine, "before_cursor_execute", record)


async def test_a_key_is_made_shown_once_used_and_found_again(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    made = await make_key(client)
    secret = made.pop("secret")
    assert secret.startswith(made["hint"])
    assert parse(secret).mode == made["mode"] == "live"
    assert made["object"] == "api_key"
    assert sorted(made["scopes"]) == sorted(DEFAULT_SCOPES)
    assert (made["expires_at"], made["revoked_at"], made["last_used_at"]) == (None, None, None)
    assert (await use(anonymous, {"secret": secret})).status_code == 200

    found = await client.get(f"/v1/api-keys/{made['id']}")
    assert found.json() == made
    listed = await client.get("/v1/api-keys")
    assert listed.json()["data"][0] == made
    assert secret not in found.text + listed.text


async def test_the_token_itself_is_stored_nowhere(
    client: httpx.AsyncClient, owner_database: Database
) -> None:
    secret = (await make_key(client))["secret"]
    async with owner_database.session() as session:
        connection = await session.connection()
        rows = (await connection.execute(text("SELECT to_jsonb(api_keys)::text FROM api_keys"))).scalars()
        stored = "".join(rows)
    token = parse(secret)
    assert token.lookup_id in stored
    assert secret.removeprefix(f"imp_live_{token.lookup_id}")[:32] not in stored
    assert secret.encode().hex() not in stored


async def test_test_keys_make_test_jobs(client: httpx.AsyncClient, anonymous: httpx.AsyncClient) -> None:
    key = await make_key(client, mode="test")
    assert key["secret"].startswith("imp_test_")
    job = await anonymous.post(
        "/v1/jobs",
        json={"pipeline": "text-to-image", "input": {"prompt": "p"}},
        headers={"Authorization": f"Bearer {key['secret']}"},
    )
    assert job.json()["mode"] == "test"


async def test_every_operation_asks_for_its_scope(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, app: FastAPI, subtests: pytest.Subtests
) -> None:
    """For every operation of the contract: a key with all scopes but its own is refused, with a 403."""
    keys = {
        scope: await make_key(client, scopes=[other for other in ALL_SCOPES if other != scope])
        for scope in ALL_SCOPES
    }
    needed = []
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            for requirement in operation.get("security", []):
                [scope] = requirement["api_key"]
                needed.append(scope)
                with subtests.test(operation["operationId"]):
                    response = await anonymous.request(
                        method.upper(),
                        path.replace("{", "").replace("}", ""),
                        headers={"Authorization": f"Bearer {keys[scope]['secret']}"},
                        json={} if "requestBody" in operation else None,
                    )
                    problem = assert_problem(response, 403, "forbidden")
                    assert scope in problem["detail"]
    assert set(needed) == set(ALL_SCOPES)


async def test_reading_is_no_leave_to_write(client: httpx.AsyncClient, anonymous: httpx.AsyncClient) -> None:
    reader = await make_key(client, scopes=["jobs:read"])
    assert (await use(anonymous, reader)).status_code == 200
    body = {"pipeline": "text-to-image", "input": {"prompt": "p"}}
    headers = {"Authorization": f"Bearer {reader['secret']}"}
    assert_problem(await anonymous.post("/v1/jobs", json=body, headers=headers), 403, "forbidden")


async def test_a_key_cannot_grant_what_it_does_not_have(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    clerk = await make_key(client, scopes=["api_keys:write", "jobs:read"])
    headers = {"Authorization": f"Bearer {clerk['secret']}"}
    allowed = {"name": "mine", "scopes": ["jobs:read"]}
    assert (await anonymous.post("/v1/api-keys", json=allowed, headers=headers)).status_code == 201
    greedy = {"name": "mine", "scopes": ["jobs:read", "jobs:write"]}
    problem = assert_problem(
        await anonymous.post("/v1/api-keys", json=greedy, headers=headers), 403, "forbidden"
    )
    assert "jobs:write" in problem["detail"]
    # Nor get it by rolling a key that has it.
    master = await make_key(client, scopes=list(ALL_SCOPES))
    rolled = await anonymous.post(f"/v1/api-keys/{master['id']}/roll", json={}, headers=headers)
    assert_problem(rolled, 403, "forbidden")
    assert (await use(anonymous, master)).status_code == 200


async def test_a_key_ends_when_it_expires(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, clock: MovableClock
) -> None:
    key = await make_key(client, expires_at=(utc_now() + timedelta(hours=1)).isoformat())
    assert (await use(anonymous, key)).status_code == 200
    clock.advance(minutes=61)
    problem = assert_problem(await use(anonymous, key), 401, "unauthenticated")
    assert "expired" in problem["detail"]


async def test_a_revoked_key_ends_and_stays_in_the_list(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    key = await make_key(client)
    assert (await use(anonymous, key)).status_code == 200
    revoked = await client.delete(f"/v1/api-keys/{key['id']}")
    assert revoked.status_code == 200
    assert revoked.json()["revoked_at"] is not None

    async def is_refused() -> bool:
        return (await use(anonymous, key)).status_code == 401

    await until(is_refused, "the key goes on working", within=1)
    assert "revoked" in (await use(anonymous, key)).json()["detail"]
    again = await client.delete(f"/v1/api-keys/{key['id']}")
    assert again.json() == revoked.json(), "revoking it again changes nothing"
    assert revoked.json() in (await client.get("/v1/api-keys")).json()["data"]


@pytest.fixture
async def elsewhere(settings: Settings, clock: MovableClock) -> AsyncIterator[httpx.AsyncClient]:
    """Another API process on the same database."""
    async with serve(create_app(settings, clock=clock)) as url, httpx.AsyncClient(base_url=url) as client:
        yield client


async def test_a_revoked_key_stops_within_a_second_in_every_process_that_knows_it(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, elsewhere: httpx.AsyncClient
) -> None:
    key = await make_key(client)
    for process in (anonymous, elsewhere):
        for _ in range(3):
            assert (await use(process, key)).status_code == 200
    await client.delete(f"/v1/api-keys/{key['id']}")
    revoked_at = time.monotonic()
    for process in (anonymous, elsewhere):
        while (await use(process, key)).status_code != 401:
            assert time.monotonic() < revoked_at + 1, "the key goes on working"
            await asyncio.sleep(0.01)


async def test_a_key_that_an_operator_changes_in_the_database_is_heard_of_too(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, owner_database: Database
) -> None:
    key = await make_key(client)
    assert (await use(anonymous, key)).status_code == 200
    for change in ("UPDATE api_keys SET scopes = '{models:read}'", "DELETE FROM api_keys"):
        async with owner_database.session() as session:
            connection = await session.connection()
            await connection.execute(
                text(f"{change} WHERE lookup_id = :id"), {"id": parse(key["secret"]).lookup_id}
            )

        async def is_refused(status: int = 403 if "scopes" in change else 401) -> bool:
            return (await use(anonymous, key)).status_code == status

        await until(is_refused, "the change is not heard of", within=1)


async def test_a_warm_key_costs_no_database_round_trip(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, app: FastAPI
) -> None:
    key = await make_key(client)
    await _until_warm(app, anonymous, key)
    with statements(services_of(app).database) as sent:
        for _ in range(5):
            assert (await use(anonymous, key, "/v1/pipelines")).status_code == 200
    assert sent == []


async def test_nothing_is_remembered_while_changes_could_be_missed(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, app: FastAPI, urls: DatabaseUrls
) -> None:
    """The connection that hears of changes is cut: until it is back, every check asks the database."""
    key = await make_key(client)
    await _until_warm(app, anonymous, key)
    same_role = Database(urls.api, pool_size=1)
    async with same_role.session() as session:
        connection = await session.connection()
        cut = await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND (query LIKE 'LISTEN%' OR query = 'SELECT 1')"
            )
        )
        assert cut.rowcount >= 1
    await same_role.close()
    await client.delete(f"/v1/api-keys/{key['id']}")

    async def is_refused() -> bool:
        return (await use(anonymous, key)).status_code == 401

    await until(is_refused, "the key goes on working", within=1)


async def test_a_rolled_key_goes_on_working_for_the_grace_period(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, clock: MovableClock
) -> None:
    old = await make_key(client, mode="test", scopes=["jobs:read"])
    rolled = await client.post(f"/v1/api-keys/{old['id']}/roll", json={"grace_seconds": 3600})
    assert rolled.status_code == 201
    new = rolled.json()
    assert new["secret"] != old["secret"]
    assert new["id"] != old["id"]
    assert [new[field] for field in ("name", "mode", "scopes")] == [
        old[field] for field in ("name", "mode", "scopes")
    ]
    assert new["expires_at"] is None

    clock.advance(minutes=59)
    assert (await use(anonymous, old)).status_code == 200
    assert (await use(anonymous, new)).status_code == 200
    clock.advance(minutes=2)
    assert (await use(anonymous, old)).status_code == 401
    assert (await use(anonymous, new)).status_code == 200


async def test_a_rolled_key_without_grace_ends_at_once(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    old = await make_key(client)
    assert (await use(anonymous, old)).status_code == 200
    await client.post(f"/v1/api-keys/{old['id']}/roll", json={})

    async def is_refused() -> bool:
        return (await use(anonymous, old)).status_code == 401

    await until(is_refused, "the key goes on working", within=1)


async def test_a_key_is_rolled_once_and_then_its_successor(client: httpx.AsyncClient) -> None:
    """Or the answer that was lost would leave two successors, and the second would end with the grace."""
    old = (await client.post("/v1/api-keys", json={"name": "old"})).json()
    new = (await client.post(f"/v1/api-keys/{old['id']}/roll", json={"grace_seconds": 60})).json()
    again = await client.post(f"/v1/api-keys/{old['id']}/roll", json={"grace_seconds": 60})
    assert_problem(again, 409, "api-key-rolled")
    assert new["id"] in again.json()["detail"]
    assert (await client.get(f"/v1/api-keys/{old['id']}")).json()["successor_id"] == new["id"]
    assert (await client.post(f"/v1/api-keys/{new['id']}/roll", json={})).status_code == 201


async def test_a_test_key_cannot_make_live_ones(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    body = {"name": "test", "mode": "test", "scopes": ["api_keys:write"]}
    secret = (await client.post("/v1/api-keys", json=body)).json()["secret"]
    headers = {"Authorization": f"Bearer {secret}"}
    refused = await anonymous.post("/v1/api-keys", json=body | {"mode": "live"}, headers=headers)
    assert_problem(refused, 403, "forbidden")
    assert (await anonymous.post("/v1/api-keys", json=body, headers=headers)).status_code == 201


async def test_rolling_never_makes_a_key_live_longer(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, clock: MovableClock
) -> None:
    end = (utc_now() + timedelta(minutes=10)).isoformat()
    old = await make_key(client, expires_at=end)
    new = (await client.post(f"/v1/api-keys/{old['id']}/roll", json={"grace_seconds": 3600})).json()
    assert new["expires_at"] == old["expires_at"]
    stored = (await client.get(f"/v1/api-keys/{old['id']}")).json()
    assert stored["expires_at"] == old["expires_at"]


async def test_an_ended_key_cannot_be_rolled_to_life(
    client: httpx.AsyncClient, clock: MovableClock, anonymous: httpx.AsyncClient
) -> None:
    revoked = await make_key(client)
    await client.delete(f"/v1/api-keys/{revoked['id']}")
    response = await client.post(f"/v1/api-keys/{revoked['id']}/roll", json={})
    assert_problem(response, 409, "api-key-revoked")

    expired = await make_key(client, expires_at=(utc_now() + timedelta(hours=1)).isoformat())
    clock.advance(hours=2)
    response = await client.post(f"/v1/api-keys/{expired['id']}/roll", json={})
    assert_problem(response, 409, "api-key-expired")


async def test_it_is_written_down_when_a_key_was_last_used(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient, app: FastAPI, clock: MovableClock
) -> None:
    key = await make_key(client)
    await use(anonymous, key)
    await services_of(app).keys.flush()
    first = (await client.get(f"/v1/api-keys/{key['id']}")).json()["last_used_at"]
    assert first is not None
    clock.advance(hours=1)
    await use(anonymous, key)
    await services_of(app).keys.flush()
    second = (await client.get(f"/v1/api-keys/{key['id']}")).json()["last_used_at"]
    assert second > first


async def test_when_a_key_was_last_used_is_not_lost_when_the_process_ends(
    settings: Settings, tenant: Tenant, owner_database: Database
) -> None:
    async with serve(create_app(settings)) as url, httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/v1/jobs", headers=tenant.headers)).status_code == 200
    async with owner_database.session() as session:
        connection = await session.connection()
        used = await connection.execute(text("SELECT last_used_at FROM api_keys"))
        assert used.scalar_one() is not None


async def test_keys_are_listed_newest_first_page_by_page(client: httpx.AsyncClient) -> None:
    made = [(await make_key(client, name=f"key {number}"))["name"] for number in range(4)]
    names, cursor = [], None
    while True:
        page = (
            await client.get("/v1/api-keys", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        ).json()
        names += [key["name"] for key in page["data"]]
        cursor = page["next_cursor"]
        assert page["has_more"] == (cursor is not None)
        if cursor is None:
            break
    assert names == [*reversed(made), "tests"]


async def test_a_key_may_revoke_itself(client: httpx.AsyncClient, anonymous: httpx.AsyncClient) -> None:
    key = await make_key(client, scopes=["api_keys:write"])
    headers = {"Authorization": f"Bearer {key['secret']}"}
    response = await anonymous.delete(f"/v1/api-keys/{key['id']}", headers=headers)
    assert response.status_code == 200
    assert json.dumps(key["secret"]) not in response.text


async def _until_warm(app: FastAPI, anonymous: httpx.AsyncClient, key: Key) -> None:
    """A process that has only just started does not hear of changed keys yet, and remembers none."""

    async def is_warm() -> bool:
        with statements(services_of(app).database) as sent:
            assert (await use(anonymous, key, "/v1/pipelines")).status_code == 200
        return not sent

    assert not await is_warm(), "a key that was never used is looked up"
    await until(is_warm, "the key is never remembered")
