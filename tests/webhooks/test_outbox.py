"""What is written to the outbox, by whom, and in which transaction."""

from __future__ import annotations

import asyncio
import json

from sqlalchemy import delete, text
from sqlmodel import col

from impasto_billing.ledger import service as ledger
from impasto_billing.plans import service as plans
from impasto_billing.settlement import settle
from impasto_billing.spending import service as spending
from impasto_core.clock import utc_now
from impasto_core.database import Database
from impasto_core.ids import format_id, new_id
from impasto_core.jobs import lifecycle
from impasto_core.jobs.lifecycle import JobError
from impasto_core.settings import Settings
from impasto_core.webhooks import outbox
from impasto_core.webhooks.payloads import TestData, body_of
from impasto_core.webhooks.tables import EndpointStatus, WebhookEndpoint
from impasto_core.webhooks.types import EventType
from tests.support.job_desk import Jobs, until
from tests.support.tenants import give_credits, make_tenant
from tests.webhooks.desk import Desk

URL = "https://example.com/hooks"


async def test_a_job_says_how_it_ended_and_names_all_that_it_made(desk: Desk) -> None:
    await desk.endpoint(URL)
    done = await desk.job(images=1, user_metadata={"order": "7"})
    broken = await desk.job(error=JobError(code="node-failed", message="No."))
    succeeded, failed = await desk.events()
    assert (succeeded.type, failed.type) == ("job.succeeded", "job.failed")
    assert (succeeded.job_id, failed.job_id) == (done.id, broken.id)
    assert succeeded.data["status"] == "succeeded"
    assert succeeded.data["cost"] > 0
    assert succeeded.data["metadata"] == {"order": "7"}
    [image] = succeeded.data["images"]
    assert image["path"] == f"/v1/images/{image['id']}"
    assert succeeded.data["path"] == f"/v1/jobs/{format_id('job', done.id)}"
    assert failed.data["error"]["code"] == "node-failed"
    assert (failed.data["cost"], failed.data["images"]) == (0, [])
    assert list(json.loads(body_of(succeeded))) == ["type", "timestamp", "data"]


async def test_a_job_that_its_owner_cancels_says_so(desk: Desk, jobs: Jobs, api_database: Database) -> None:
    await desk.endpoint(URL)
    job = await jobs.add()
    async with api_database.tenant(desk.organization_id) as session:
        await settle(session, await lifecycle.cancel(session, job.id))
    [event] = await desk.events()
    assert (event.type, event.data["id"]) == ("job.canceled", format_id("job", job.id))


async def test_nothing_is_told_of_what_did_not_come_to_pass(
    desk: Desk, jobs: Jobs, api_database: Database
) -> None:
    await desk.endpoint(URL)
    job = await jobs.add()
    async with api_database.tenant(desk.organization_id) as session:
        await settle(session, await lifecycle.cancel(session, job.id))
        await session.rollback()
    assert await desk.events() == []


async def test_an_endpoint_hears_what_it_asked_for_from_then_on(desk: Desk) -> None:
    await desk.job()
    failures = await desk.endpoint(URL, "job.failed", "job.canceled")
    everything = await desk.endpoint(URL)
    await desk.endpoint(URL, status=EndpointStatus.DISABLED, disabled_at=utc_now(), disabled_reason="manual")
    await desk.job()
    await desk.job(error=JobError(code="node-failed", message="No."))
    told = [delivery.endpoint_id for delivery in await desk.deliveries()]
    assert told == [everything.id, failures.id, everything.id]


async def test_a_job_can_end_while_its_endpoint_is_deleted(
    desk: Desk, api_database: Database, owner_database: Database
) -> None:
    endpoint = await desk.endpoint(URL)

    async def waits() -> bool:
        async with owner_database.session() as session:
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            return bool((await (await session.connection()).execute(waiting)).scalar_one())

    async with api_database.tenant(desk.organization_id) as session:
        await session.exec(delete(WebhookEndpoint).where(col(WebhookEndpoint.id) == endpoint.id))
        ending = asyncio.create_task(desk.job())
        await until(waits, "the job does not wait for the endpoint to be gone")
    assert (await ending).status == "succeeded"
    assert await desk.events() == []


async def test_what_nobody_wants_to_know_is_not_kept(desk: Desk) -> None:
    await desk.endpoint(URL, "job.failed")
    await desk.job()
    assert await desk.events() == []


async def test_a_job_with_a_url_of_its_own_needs_no_endpoint(desk: Desk) -> None:
    await desk.job(webhook_url="https://one.example.com/a")
    await desk.job(webhook_url="https://one.example.com/b")
    await desk.job(webhook_url="https://another.example.com/a")
    one, same_host, another = await desk.deliveries()
    assert one.url == "https://one.example.com/a"
    assert one.lane == same_host.lane != another.lane


async def test_a_webhook_stays_under_20_kb_however_large_its_job(desk: Desk) -> None:
    await desk.endpoint(URL)
    notes = {f"note {number}": "\N{FACE WITH TEARS OF JOY}" * 500 for number in range(16)}
    await desk.job(images=300, user_metadata=notes)
    long = "\N{FACE WITH TEARS OF JOY}" * 10_000
    await desk.job(error=JobError(code="node-failed", message=long, node_id=long))
    large, wordy = await desk.events()
    assert large.data["omitted"] == ["images", "metadata"]
    assert wordy.data["omitted"] == []
    assert max(len(body_of(event)) for event in (large, wordy)) < 20_000


async def test_a_spend_cap_that_is_used_up_when_it_is_set_tells_so(
    desk: Desk, api_database: Database
) -> None:
    await desk.endpoint(URL)
    async with api_database.tenant(desk.organization_id) as session:
        await spending.set_cap(
            session, organization_id=desk.organization_id, api_key_id=None, amount=0, now=utc_now()
        )
    told = [(event.type, event.data["percent"], event.data["cap"]) for event in await desk.events()]
    assert told == [("spend_cap.alert", percent, 0) for percent in (50, 80, 100)]


async def test_low_credits_are_told_once_and_again_after_there_were_more(
    desk: Desk, owner_database: Database
) -> None:
    await desk.endpoint(URL, "credits.low")

    async def change_balance(*, held: int = 0, granted: int = 0) -> None:
        async with owner_database.session() as session:
            if granted:
                await give_credits(session, desk.organization_id, granted)
            if held:
                await ledger.hold(
                    session,
                    organization_id=desk.organization_id,
                    job_id=new_id(),
                    amount=held,
                    api_key_id=None,
                )

    async def told_after_a_job_of_one_credit() -> list[tuple[str, int, int, int]]:
        before = len(await desk.events())
        await desk.job()
        events = (await desk.events())[before:]
        return [(e.type, e.data["available"], e.data["held"], e.data["threshold"]) for e in events]

    async with owner_database.session() as session:
        await plans.assign(session, desk.organization_id, "free")
    await change_balance(held=1_000_000 - 51)
    assert await told_after_a_job_of_one_credit() == []
    assert await told_after_a_job_of_one_credit() == [("credits.low", 49, 1_000_000 - 51, 50)]
    assert await told_after_a_job_of_one_credit() == []
    await change_balance(granted=1)
    assert await told_after_a_job_of_one_credit() == [], "there was never enough in between"
    await change_balance(granted=10)
    assert await told_after_a_job_of_one_credit() == []
    await change_balance(held=10)
    assert [told[1] for told in await told_after_a_job_of_one_credit()] == [46]
    await change_balance(granted=60, held=60)
    assert [told[1] for told in await told_after_a_job_of_one_credit()] == [45], "jobs took all of it at once"
    assert await told_after_a_job_of_one_credit() == []


async def test_no_organization_hears_of_another(
    desk: Desk, owner_database: Database, settings: Settings, worker_database: Database
) -> None:
    await desk.endpoint(URL)
    stranger = await make_tenant(owner_database, settings)
    async with worker_database.session() as session:
        data = TestData(endpoint_id=stranger.organization_id)
        await outbox.publish(session, stranger.organization_id, EventType.TEST, data, utc_now())
    assert await desk.deliveries() == []
