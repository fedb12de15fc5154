"""From a job to the customer's server and back to the log: the real API and dispatcher, by the SDK alone.

The server verifies with the library of Standard Webhooks, which knows nothing of us.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from impasto import webhooks
from impasto_core.database import Database
from impasto_core.settings import Settings
from impasto_core.webhooks.guard import Guard
from impasto_core.webhooks.secrets import SecretBox
from impasto_workers.webhooks.sender import Sender
from tests.sdk.conftest import Sdk
from tests.support.databases import DatabaseUrls
from tests.support.job_desk import until
from tests.support.painters import Painter
from tests.support.tenants import Tenant
from tests.webhooks.conftest import dispatching
from tests.webhooks.receiver import Message, Receiver, answer, receiving

EXAMPLE = Path(__file__).parents[3] / "examples" / "webhook_receiver.py"
PROMPT = {"prompt": "a big red heart"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"webhook_allowed_networks": "127.0.0.0/8"})


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
async def dispatcher(urls: DatabaseUrls, settings: Settings) -> AsyncIterator[None]:
    database = Database(urls.webhooks, pool_size=2)
    async with dispatching(database, Sender(Guard.of(settings)), SecretBox.of(settings)):
        yield
    await database.close()


async def received(receiver: Receiver, count: int, path: str = "/hooks") -> list[Message]:
    async def enough() -> bool:
        return len(receiver.at(path)) >= count

    await until(enough, f"{path} has not received {count}")
    return receiver.at(path)


async def finished(sdk: Sdk, delivery_id: str) -> Any:
    """The delivery, once it has arrived or was given up."""

    async def is_finished() -> bool:
        return (await get()).status != "pending"

    def get() -> Any:
        return sdk(lambda client: client.webhooks.deliveries.get(delivery_id))

    await until(is_finished, "the delivery is pending")
    return await get()


@pytest.mark.parametrize("transport", ["sync-http", "async-http"])
async def test_the_end_of_a_job_is_told_verified_logged_and_told_again(
    sdk: Sdk, painter: Painter, receiver: Receiver
) -> None:
    url = f"{receiver.url}/hooks"
    endpoint = await sdk(
        lambda client: client.webhooks.endpoints.create(url, events=["job.succeeded"], description="orders")
    )
    job = await sdk(
        lambda client: client.jobs.create(
            "text-to-image", PROMPT, metadata={"order": "7"}, webhook_url=f"{receiver.url}/of-the-job"
        )
    )
    assert job.webhook_url == f"{receiver.url}/of-the-job"
    await painter.paint_next()

    [message] = await received(receiver, 1)
    assert message.verify(endpoint.secret)["data"]["id"] == job.id
    for secret in (endpoint.secret, endpoint.public_key):
        event = webhooks.unwrap(message.body, message.headers, secret)
        assert isinstance(event, webhooks.JobSucceeded)
        assert (event.id, event.data.id, event.data.metadata) == (message.id, job.id, {"order": "7"})
    ended = await sdk(lambda client: client.jobs.get(job.id))
    assert [image.id for image in event.data.images] == [image.id for image in ended.images]
    assert event.data.cost == ended.cost.amount
    assert len(message.body) < 20_000

    own = await sdk(lambda client: client.webhooks.secret.get())
    [told] = await received(receiver, 1, "/of-the-job")
    assert told.verify(own.secret)["data"]["id"] == job.id
    assert told.id == message.id

    [delivery] = await sdk.all(lambda client: client.webhooks.deliveries.list(endpoint_id=endpoint.id))
    delivery = await finished(sdk, delivery.id)
    assert (delivery.status, delivery.event_id, delivery.attempts) == ("succeeded", message.id, 1)
    [attempt] = delivery.log
    assert (attempt.response_status, attempt.response_body) == (200, "thanks")
    assert attempt.request_headers["webhook-signature"] == message.headers["webhook-signature"]
    assert delivery.request_body.encode() == message.body
    await sdk(lambda client: client.webhooks.deliveries.redeliver(delivery.id))
    again = (await received(receiver, 2))[1]
    assert (again.id, again.body) == (message.id, message.body)


@pytest.mark.parametrize("transport", ["sync-http"])
async def test_an_endpoint_is_tested_rotated_given_up_and_served_again(sdk: Sdk, receiver: Receiver) -> None:
    endpoints = f"{receiver.url}/hooks"
    endpoint = await sdk(lambda client: client.webhooks.endpoints.create(endpoints))
    rotated = await sdk(
        lambda client: client.webhooks.endpoints.rotate_secret(endpoint.id, overlap_seconds=3600)
    )
    receiver.behaviours.append(answer(410))
    test = await sdk(lambda client: client.webhooks.endpoints.test(endpoint.id))
    [message] = await received(receiver, 1)
    for secret in (endpoint.secret, rotated.secret):
        assert message.verify(secret)["type"] == "webhook.test"
    for key in (endpoint.public_key, rotated.public_key):
        assert isinstance(webhooks.unwrap(message.body, message.headers, key), webhooks.WebhookTest)

    assert (await finished(sdk, test.id)).status == "failed"
    gone = await sdk(lambda client: client.webhooks.endpoints.get(endpoint.id))
    assert (gone.status, gone.disabled_reason) == ("disabled", "gone")
    enabled = await sdk(lambda client: client.webhooks.endpoints.update(endpoint.id, enabled=True))
    assert enabled.status == "enabled"
    since = test.created_at - timedelta(seconds=1)
    sent = await sdk(lambda client: client.webhooks.endpoints.redeliver(endpoint.id, since=since))
    assert (sent.count, sent.next_since) == (1, None)
    assert (await finished(sdk, test.id)).status == "succeeded"
    await sdk(lambda client: client.webhooks.endpoints.delete(endpoint.id))
    assert await sdk.all(lambda client: client.webhooks.endpoints.list()) == []
    assert await sdk.all(lambda client: client.webhooks.deliveries.list()) == []


@pytest.mark.parametrize("transport", ["sync-http"])
@pytest.mark.usefixtures("busy_painter")
async def test_the_example_receives_verifies_and_prints(sdk: Sdk, base_url: str, tenant: Tenant) -> None:
    environment = os.environ | {"IMPASTO_API_KEY": tenant.api_key, "IMPASTO_BASE_URL": base_url}
    example = await asyncio.create_subprocess_exec(
        sys.executable, "-u", str(EXAMPLE), env=environment, stdout=PIPE, stderr=PIPE
    )
    assert example.stdout is not None
    try:
        async with asyncio.timeout(30):
            assert b" is told at http://127.0.0.1:" in await example.stdout.readline()
            assert b"webhook.test" in await example.stdout.readline()
            images = await sdk(lambda client: client.images.generate("a big red heart"))
            line = (await example.stdout.readline()).decode()
            assert line == f"{images.job.id} succeeded: {images[0].id}\n"
            example.send_signal(signal.SIGINT)
            _, errors = await example.communicate()
    finally:
        if example.returncode is None:
            example.kill()
            await example.wait()
    assert (example.returncode, errors.decode()) == (0, "")
    assert await sdk.all(lambda client: client.webhooks.endpoints.list()) == [], "it cleaned up"
