"""Endpoints, their secrets, the log of what was sent to them, and `webhook_url` of jobs."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import func, text, update
from sqlmodel import select

from impasto_api.examples import EXAMPLES
from impasto_api.webhooks.endpoints import MAX_ENDPOINTS
from impasto_api.webhooks.schemas import MAX_LOG
from impasto_core.api_keys.scopes import Scope
from impasto_core.clock import utc_now
from impasto_core.database import Database
from impasto_core.ids import parse_id
from impasto_core.settings import Settings
from impasto_core.webhooks import redelivery
from impasto_core.webhooks.tables import DeliveryStatus, WebhookAttempt, WebhookDelivery
from tests.support.job_desk import until
from tests.support.painters import Painter
from tests.support.problems import assert_problem
from tests.support.tenants import Tenant, make_tenant

Json = dict[str, Any]

URL = "https://example.com/impasto"
JOB = {"pipeline": "text-to-image", "input": {"prompt": "a big red heart"}}

FORBIDDEN = [
    "nonsense",
    "https://",
    "ftp://example.com/",
    "file:///etc/passwd",
    "https://user:password@example.com/",
    "https://example.com:22/",
    "https://example.com/#part",
    "https://example.com/a b",
    "https://bücher.example/",
    "https://127.0.0.1/",
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://10.0.0.1/",
    "https://192.168.1.1:8443/",
    "https://100.64.0.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://0.0.0.0/",
    "https://[::1]/",
    "https://[fe80::1]/",
    "https://[fd00::1]/",
    "https://[::ffff:10.0.0.1]/",
    "https://[64:ff9b::a00:1]/",
    "https://localhost:3000/",
    "https://metadata.google.internal/",
    "https://example.com/" + "a" * 2048,
]


async def make(client: httpx.AsyncClient, **changes: Any) -> Json:
    response = await client.post("/v1/webhook-endpoints", json={"url": URL} | changes)
    assert response.status_code == 201, response.text
    endpoint: Json = response.json()
    return endpoint


async def deliveries(client: httpx.AsyncClient, **filters: Any) -> list[Json]:
    response = await client.get("/v1/webhook-deliveries", params=filters)
    assert response.status_code == 200, response.text
    listed: list[Json] = response.json()["data"]
    return listed


async def give_up_all(owner: Database) -> None:
    """As the dispatcher does in the end."""
    async with owner.session() as session:
        given_up = {"status": DeliveryStatus.FAILED, "attempts": 10, "finished_at": func.now()}
        await session.exec(update(WebhookDelivery).values(**given_up))


async def test_an_endpoint_is_made_shown_changed_and_deleted(client: httpx.AsyncClient) -> None:
    made = await make(client, events=["job.failed", "job.succeeded", "job.failed"], description="orders")
    assert made["events"] == ["job.failed", "job.succeeded"]
    assert (made["status"], made["ordered"], made["disabled_at"]) == ("enabled", False, None)
    assert made["secret"].startswith("whsec_")
    assert made["public_key"].startswith("whpk_")
    secret = made.pop("secret")

    path = f"/v1/webhook-endpoints/{made['id']}"
    found, listed = await client.get(path), await client.get("/v1/webhook-endpoints")
    assert found.json() == made
    assert listed.json()["data"] == [made]
    assert secret not in found.text + listed.text

    changed = await client.patch(path, json={"url": URL + "/2", "events": [], "ordered": True})
    assert changed.json() == made | {"url": URL + "/2", "events": [], "ordered": True}
    assert (await client.get(path)).json() == changed.json()

    assert (await client.delete(path)).status_code == 204
    assert_problem(await client.get(path), 404, "not-found")
    assert_problem(await client.delete(path), 404, "not-found")


async def test_jobs_end_while_an_endpoint_with_many_deliveries_is_deleted(
    client: httpx.AsyncClient, owner_database: Database, painter: Painter
) -> None:
    endpoint = await make(client)
    for _ in range(2):
        await client.post("/v1/jobs", json=JOB)
    await painter.paint_next()
    async with owner_database.session() as session:
        await session.exec(select(WebhookDelivery).with_for_update())  # so that to delete it takes long
        deleting = asyncio.create_task(client.delete(f"/v1/webhook-endpoints/{endpoint['id']}"))
        await until(lambda: is_blocked(owner_database), "it is deleted already")
        async with asyncio.timeout(10):
            await painter.paint_next()
    assert (await deleting).status_code == 204
    assert await deliveries(client) == []


async def is_blocked(owner: Database) -> bool:
    """Whether anyone waits for a lock."""
    async with owner.session() as session:
        waiting = text("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return bool(await (await session.connection()).scalar(waiting))


async def test_no_url_is_taken_that_leads_anywhere_but_to_the_public_internet(
    client: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    path = f"/v1/webhook-endpoints/{(await make(client))['id']}"
    for url in FORBIDDEN:
        with subtests.test(url[:40]):
            refused = await client.post("/v1/webhook-endpoints", json={"url": url})
            assert_problem(refused, 422, "validation-failed", field="url")
            assert_problem(await client.patch(path, json={"url": url}), 422, "validation-failed", field="url")
            for job in ("/v1/jobs", "/v1/quotes"):
                response = await client.post(job, json=JOB | {"webhook_url": url})
                assert_problem(response, 422, "validation-failed", field="webhook_url")
    assert (await client.get("/v1/jobs")).json()["data"] == []
    assert len((await client.get("/v1/webhook-endpoints")).json()["data"]) == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": None}, "url"),
        ({"url": URL, "events": ["job.exploded"]}, "events.0"),
        ({"url": URL, "events": "job.failed"}, "events"),
        ({"url": URL, "ordered": "perhaps"}, "ordered"),
        ({"url": URL, "description": "x" * 501}, "description"),
        ({"url": URL, "secret": "whsec_mine"}, "secret"),
    ],
)
async def test_what_is_wrong_with_an_endpoint_is_named(
    client: httpx.AsyncClient, body: Json, field: str
) -> None:
    response = await client.post("/v1/webhook-endpoints", json=body)
    assert_problem(response, 422, "validation-failed", field=field)


async def test_an_organization_has_so_many_endpoints_and_no_more(client: httpx.AsyncClient) -> None:
    for _ in range(MAX_ENDPOINTS):
        last = await make(client)
    response = await client.post("/v1/webhook-endpoints", json={"url": URL})
    problem = assert_problem(response, 409, "too-many-webhook-endpoints")
    assert str(MAX_ENDPOINTS) in problem["detail"]
    await client.delete(f"/v1/webhook-endpoints/{last['id']}")
    await make(client)


async def test_a_disabled_endpoint_is_told_nothing_until_it_is_enabled(
    client: httpx.AsyncClient, painter: Painter
) -> None:
    endpoint = await make(client, enabled=False)
    assert (endpoint["status"], endpoint["disabled_reason"]) == ("disabled", "manual")
    path = f"/v1/webhook-endpoints/{endpoint['id']}"
    assert_problem(await client.post(f"{path}/test"), 409, "webhook-endpoint-disabled")
    again = await client.post(f"{path}/redeliver", json={"since": "2026-01-01T00:00:00Z"})
    assert_problem(again, 409, "webhook-endpoint-disabled")
    await client.post("/v1/jobs", json=JOB)
    await painter.paint_next()
    assert await deliveries(client) == []

    enabled = (await client.patch(path, json={"enabled": True})).json()
    assert (enabled["status"], enabled["disabled_reason"], enabled["disabled_at"]) == ("enabled", None, None)
    assert (await client.post(f"{path}/test")).status_code == 202
    disabled = (await client.patch(path, json={"enabled": False})).json()
    assert disabled["disabled_at"] is not None
    again = (await client.patch(path, json={"enabled": False})).json()
    assert again == disabled, "nothing has changed"


async def test_a_rotated_secret_signs_beside_its_successor_for_a_while(client: httpx.AsyncClient) -> None:
    endpoint = await make(client)
    path = f"/v1/webhook-endpoints/{endpoint['id']}"
    rotated = await client.post(f"{path}/rotate-secret", json={"overlap_seconds": 3600})
    assert rotated.status_code == 201
    fresh = rotated.json()
    assert fresh["secret"].startswith("whsec_")
    assert (fresh["secret"], fresh["public_key"]) != (endpoint["secret"], endpoint["public_key"])
    assert fresh["previous_expires_at"] is not None
    assert (await client.get(path)).json()["public_key"] == fresh["public_key"]

    at_once = await client.post(f"{path}/rotate-secret", json={"overlap_seconds": 0})
    assert at_once.json()["previous_expires_at"] == fresh["previous_expires_at"]
    too_long = await client.post(f"{path}/rotate-secret", json={"overlap_seconds": 7 * 86400 + 1})
    assert_problem(too_long, 422, "validation-failed", field="overlap_seconds")
    for _ in range(3):
        assert (await client.post(f"{path}/rotate-secret", json={})).status_code == 201
    too_many = await client.post(f"{path}/rotate-secret", json={})
    assert_problem(too_many, 409, "too-many-webhook-secrets")


async def test_the_organizations_own_secret_can_be_looked_up_and_rotated(
    client: httpx.AsyncClient, stranger: Tenant
) -> None:
    first = await client.get("/v1/webhook-secret")
    assert first.status_code == 200
    assert first.json()["secret"].startswith("whsec_")
    assert (await client.get("/v1/webhook-secret")).json() == first.json()
    rotated = (await client.post("/v1/webhook-secret/rotate", json={})).json()
    assert rotated["secret"] != first.json()["secret"]
    assert (await client.get("/v1/webhook-secret")).json() == rotated
    theirs = (await client.get("/v1/webhook-secret", headers=stranger.headers)).json()
    assert not {theirs["secret"], theirs["public_key"]} & {*first.json().values(), *rotated.values()}


async def test_the_log_says_what_was_sent_and_can_be_searched(
    client: httpx.AsyncClient, painter: Painter
) -> None:
    endpoint = await make(client, events=["job.succeeded"])
    one = (await client.post("/v1/jobs", json=JOB | {"webhook_url": URL + "/job"})).json()
    assert one["webhook_url"] == URL + "/job"
    await painter.paint_next()
    another = (await client.post("/v1/jobs", json=JOB)).json()
    assert another["webhook_url"] is None
    await client.post(f"/v1/jobs/{another['id']}/cancel")
    test = (await client.post(f"/v1/webhook-endpoints/{endpoint['id']}/test")).json()

    listed = await deliveries(client)
    assert listed[0] == test
    assert (test["event_type"], test["job_id"], test["attempts"]) == ("webhook.test", None, 0)
    told = {delivery["url"]: delivery for delivery in listed[1:]}
    assert told.keys() == {URL, URL + "/job"}, "the canceled job is not what the endpoint asked for"
    for delivery in told.values():
        assert (delivery["event_type"], delivery["job_id"]) == ("job.succeeded", one["id"])
        assert (delivery["status"], delivery["finished_at"]) == ("pending", None)
    assert told[URL]["endpoint_id"] == endpoint["id"]
    assert told[URL + "/job"]["endpoint_id"] is None
    assert told[URL]["event_id"] == told[URL + "/job"]["event_id"], "one event, told twice"

    assert await deliveries(client, endpoint_id=endpoint["id"]) == [test, told[URL]]
    assert await deliveries(client, event_type="webhook.test") == [test]
    assert len(await deliveries(client, job_id=one["id"], status="pending")) == 2
    assert await deliveries(client, status="succeeded") == []
    assert await deliveries(client, created_after=test["created_at"]) == []
    assert len(await deliveries(client, created_before=test["created_at"])) == 2
    page = (await client.get("/v1/webhook-deliveries", params={"limit": 2})).json()
    assert page["has_more"]
    rest = await deliveries(client, limit=2, cursor=page["next_cursor"])
    assert page["data"] + rest == listed

    details = (await client.get(f"/v1/webhook-deliveries/{told[URL]['id']}")).json()
    assert details["log"] == []
    assert details["request_body"].startswith('{"type":"job.succeeded"')
    assert one["id"] in details["request_body"]
    wrong = await client.get("/v1/webhook-deliveries", params={"event_type": "job.exploded"})
    assert_problem(wrong, 422, "validation-failed", field="event_type")


async def test_of_a_delivery_that_was_sent_again_and_again_the_latest_attempts_are_shown(
    client: httpx.AsyncClient, owner_database: Database, tenant: Tenant
) -> None:
    endpoint = await make(client)
    delivery = (await client.post(f"/v1/webhook-endpoints/{endpoint['id']}/test")).json()
    async with owner_database.session() as session:
        for number in range(1, MAX_LOG + 3):
            attempt = WebhookAttempt(
                delivery_id=parse_id("whd", delivery["id"]),
                number=number,
                organization_id=tenant.organization_id,
                started_at=utc_now(),
                duration_ms=1,
                outcome="failed",
                url=URL,
            )
            session.add(attempt)
    log = (await client.get(f"/v1/webhook-deliveries/{delivery['id']}")).json()["log"]
    assert [attempt["number"] for attempt in log] == list(range(3, MAX_LOG + 3))


async def test_a_run_of_a_workflow_can_name_a_url_too(client: httpx.AsyncClient, painter: Painter) -> None:
    await client.post("/v1/workflows", json=EXAMPLES["WorkflowCreate"])
    path = f"/v1/workflows/{EXAMPLES['WorkflowCreate']['slug']}/runs"
    refused = await client.post(path, json={"webhook_url": "https://10.0.0.1/"})
    assert_problem(refused, 422, "validation-failed", field="webhook_url")
    run = await client.post(path, json={"webhook_url": URL})
    assert run.json()["webhook_url"] == URL
    await painter.paint_next()
    [delivery] = await deliveries(client)
    assert (delivery["url"], delivery["job_id"]) == (URL, run.json()["id"])


async def test_what_was_given_up_is_sent_again(client: httpx.AsyncClient, owner_database: Database) -> None:
    endpoint = await make(client)
    path = f"/v1/webhook-endpoints/{endpoint['id']}"
    sent = [(await client.post(f"{path}/test")).json() for _ in range(3)]
    await give_up_all(owner_database)

    again = await client.post(f"/v1/webhook-deliveries/{sent[0]['id']}/redeliver")
    assert again.status_code == 202
    assert (again.json()["status"], again.json()["event_id"]) == ("pending", sent[0]["event_id"])

    span = {"since": sent[1]["created_at"], "until": sent[2]["created_at"]}
    ranged = await client.post(f"{path}/redeliver", json=span)
    assert ranged.status_code == 202
    assert ranged.json() == {"object": "redelivery", "count": 1, "next_since": None}
    assert [delivery["status"] for delivery in await deliveries(client)] == ["failed", "pending", "pending"]
    rest = await client.post(f"{path}/redeliver", json={"since": "2026-01-01T00:00:00Z"})
    assert rest.json()["count"] == 1

    backwards = await client.post(f"{path}/redeliver", json={"since": span["until"], "until": span["since"]})
    assert_problem(backwards, 422, "validation-failed", field="until")
    nobody = "whd_" + "0" * 26
    assert_problem(await client.post(f"/v1/webhook-deliveries/{nobody}/redeliver"), 404, "not-found")


async def test_a_long_time_is_sent_again_piece_by_piece_each_delivery_once(
    client: httpx.AsyncClient, owner_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redelivery, "MAX_REDELIVERIES", 2)
    path = f"/v1/webhook-endpoints/{(await make(client))['id']}"
    for _ in range(5):
        await client.post(f"{path}/test")
    await give_up_all(owner_database)
    counts, since = [], "2026-01-01T00:00:00Z"
    while since is not None:
        request = {"since": since, "include_succeeded": True}
        answer = (await client.post(f"{path}/redeliver", json=request)).json()
        counts.append(answer["count"])
        since = answer["next_since"]
    assert counts == [2, 2, 1]
    assert {delivery["status"] for delivery in await deliveries(client)} == {"pending"}


async def test_webhooks_need_their_own_scopes(
    base_url: str, owner_database: Database, settings: Settings
) -> None:
    reader = await make_tenant(owner_database, settings, scopes=[Scope.WEBHOOKS_READ, Scope.JOBS_WRITE])
    async with httpx.AsyncClient(base_url=base_url, headers=reader.headers) as client:
        assert (await client.get("/v1/webhook-endpoints")).status_code == 200
        assert_problem(await client.post("/v1/webhook-endpoints", json={"url": URL}), 403, "forbidden")
        assert_problem(await client.get("/v1/webhook-secret"), 403, "forbidden")  # it could forge
