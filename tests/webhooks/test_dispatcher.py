"""What a receiver gets and when, from a dispatcher that works on real PostgreSQL and over real HTTP."""

from __future__ import annotations

import base64
from datetime import timedelta
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks.webhooks import WebhookVerificationError

from impasto_core.clock import utc_now
from impasto_core.database import Database
from impasto_core.ids import format_id
from impasto_core.jobs.lifecycle import JobError
from impasto_core.webhooks import redelivery, secrets
from impasto_core.webhooks.secrets import SecretBox
from impasto_core.webhooks.tables import DeliveryStatus, EndpointStatus
from impasto_workers.webhooks import claims
from impasto_workers.webhooks.claims import LEASE
from impasto_workers.webhooks.schedule import DELAYS, JITTER
from impasto_workers.webhooks.sender import Sender
from tests.webhooks.conftest import LOCAL, dispatching
from tests.webhooks.desk import Desk
from tests.webhooks.receiver import Receiver, answer, endless, silent

DAY = timedelta(days=1)


@pytest.mark.usefixtures("dispatcher")
async def test_the_end_of_a_job_reaches_its_endpoint_signed(desk: Desk, receiver: Receiver) -> None:
    endpoint = await desk.endpoint(f"{receiver.url}/hooks?token=1")
    job = await desk.job(images=2)
    [delivery] = await desk.until_finished()
    [message] = receiver.received
    whsec, whpk = await desk.shown(endpoint)

    assert message.verify(whsec) == message.event
    assert message.path == "/hooks?token=1"
    assert message.event["type"] == "job.succeeded"
    assert message.event["data"]["id"] == format_id("job", job.id)
    assert len(message.event["data"]["images"]) == 2
    assert message.headers["content-type"] == "application/json"
    [event] = await desk.events()
    assert message.id == format_id("evt", event.id)

    [asymmetric] = [s for s in message.headers["webhook-signature"].split() if s.startswith("v1a,")]
    public_key = Ed25519PublicKey.from_public_bytes(base64.b64decode(whpk.removeprefix("whpk_")))
    signed = f"{message.id}.{message.headers['webhook-timestamp']}.".encode() + message.body
    public_key.verify(base64.b64decode(asymmetric.removeprefix("v1a,")), signed)  # or raises

    [attempt] = await desk.attempts()
    assert (delivery.status, attempt.outcome, attempt.response_status) == ("succeeded", "succeeded", 200)
    assert attempt.request_headers["webhook-id"] == message.id
    assert attempt.response_body == "thanks"
    assert whsec not in str(attempt.model_dump())


@pytest.mark.usefixtures("dispatcher")
async def test_a_rotated_secret_signs_until_it_expires(
    desk: Desk, receiver: Receiver, box: SecretBox
) -> None:
    endpoint = await desk.endpoint(receiver.url)
    old, _ = await desk.shown(endpoint)
    now, owner = utc_now(), endpoint.organization_id
    async with desk.owner.session() as session:
        await secrets.rotate(session, box, owner, endpoint.id, now, timedelta(hours=1))
    new, *_ = await desk.shown(endpoint)
    await desk.job()
    await desk.until_finished()
    assert receiver.received[0].verify(old) == receiver.received[0].verify(new)

    async with desk.owner.session() as session:
        before = now - timedelta(hours=2)
        await secrets.rotate(session, box, owner, endpoint.id, before, timedelta(hours=1))
    await desk.job()
    await desk.until_finished()
    with pytest.raises(WebhookVerificationError):
        receiver.received[1].verify(new)


@pytest.mark.usefixtures("dispatcher")
async def test_a_url_given_with_the_job_is_told_and_signed_by_the_organization(
    desk: Desk, receiver: Receiver
) -> None:
    await desk.job(webhook_url=f"{receiver.url}/of-this-job")
    await desk.until_finished()
    [message] = receiver.received
    whsec, _ = await desk.shown()
    assert message.verify(whsec)["type"] == "job.succeeded"
    assert message.path == "/of-this-job"


@pytest.mark.usefixtures("dispatcher")
async def test_a_webhook_belongs_to_the_trace_of_its_job(desk: Desk, receiver: Receiver) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    await desk.endpoint(receiver.url)
    await desk.job(traceparent=f"00-{trace}-00f067aa0ba902b7-01")
    await desk.until_finished()
    assert receiver.received[0].headers["traceparent"].split("-")[1] == trace


@pytest.mark.usefixtures("dispatcher")
async def test_what_fails_is_tried_ten_times_on_the_standard_schedule(desk: Desk, receiver: Receiver) -> None:
    await desk.endpoint(receiver.url)
    receiver.always["/"] = answer(500)
    await desk.job()
    for failures in range(1, len(DELAYS)):
        await desk.until_attempts(failures)
        delay = await desk.due_in()
        assert DELAYS[failures] - timedelta(seconds=5) < delay <= DELAYS[failures] * (1 + JITTER)
        await desk.pass_time(delay + timedelta(seconds=1))
    [delivery] = await desk.until_finished()
    assert (delivery.status, delivery.attempts) == ("failed", 10)
    assert len({message.id for message in receiver.received}) == 1
    assert len({message.body for message in receiver.received}) == 1


@pytest.mark.usefixtures("dispatcher")
async def test_a_receiver_can_ask_for_more_time_but_not_for_ever(desk: Desk, receiver: Receiver) -> None:
    await desk.endpoint(receiver.url)
    receiver.behaviours.extend([answer(503, Retry_After="600"), answer(429, Retry_After="99999999")])
    await desk.job()
    await desk.until_attempts(1)
    assert timedelta(seconds=590) < await desk.due_in() < timedelta(seconds=661)
    await desk.pass_time(timedelta(seconds=700))
    await desk.until_attempts(2)
    assert timedelta(hours=23) < await desk.due_in() < timedelta(hours=27)


@pytest.mark.usefixtures("dispatcher")
async def test_redirects_are_failures_and_are_not_followed(desk: Desk, receiver: Receiver) -> None:
    await desk.endpoint(f"{receiver.url}/moved")
    receiver.always["/moved"] = answer(307, Location=f"{receiver.url}/elsewhere")
    await desk.job()
    [attempt] = await desk.until_attempts(1)
    assert (attempt.outcome, attempt.response_status) == ("failed", 307)
    assert receiver.at("/elsewhere") == []


@pytest.mark.usefixtures("dispatcher")
async def test_an_endpoint_that_is_gone_is_disabled_and_the_others_hear_of_it(
    desk: Desk, receiver: Receiver
) -> None:
    gone = await desk.endpoint(f"{receiver.url}/gone?token=s3cret", "job.succeeded")
    await desk.endpoint(f"{receiver.url}/other", "webhook_endpoint.disabled")
    receiver.always["/gone?token=s3cret"] = answer(410)
    await desk.job()
    await desk.until_attempts(2)
    disabled = await desk.read_endpoint(gone)
    assert (disabled.status, disabled.disabled_reason) == (EndpointStatus.DISABLED, "gone")
    [message] = receiver.at("/other")
    assert message.event["data"]["id"] == format_id("whe", gone.id)
    assert message.event["data"]["reason"] == "gone"
    assert b"s3cret" not in message.body, "it is the other receiver's to know"
    await desk.job()  # of which it is not told
    assert len(await desk.until_finished()) == 2


@pytest.mark.usefixtures("dispatcher")
async def test_an_endpoint_that_fails_for_five_days_is_disabled_and_what_waits_for_it_closed(
    desk: Desk, receiver: Receiver
) -> None:
    endpoint = await desk.endpoint(receiver.url)
    receiver.always["/"] = answer(500)
    await desk.job()
    await desk.until_attempts(1)
    await desk.pass_time(4 * DAY)
    await desk.until_attempts(2)
    assert (await desk.read_endpoint(endpoint)).status == EndpointStatus.ENABLED
    await desk.job()
    await desk.until_attempts(3)
    await desk.pass_time(2 * DAY)
    await desk.until_attempts(4)
    await desk.pass_time(DAY)
    deliveries = await desk.until_finished()
    assert (await desk.read_endpoint(endpoint)).disabled_reason == "failing"
    assert {delivery.status for delivery in deliveries} == {DeliveryStatus.FAILED}


@pytest.mark.usefixtures("dispatcher")
async def test_one_success_makes_good_for_the_failures_before(desk: Desk, receiver: Receiver) -> None:
    endpoint = await desk.endpoint(receiver.url)
    receiver.behaviours.append(answer(500))
    await desk.job()
    await desk.until_attempts(1)
    assert (await desk.read_endpoint(endpoint)).failing_since is not None
    await desk.pass_time(timedelta(seconds=6))
    await desk.until_finished()
    assert (await desk.read_endpoint(endpoint)).failing_since is None


@pytest.mark.usefixtures("dispatcher")
async def test_a_body_without_end_is_read_no_further_than_the_log_shows(
    desk: Desk, receiver: Receiver
) -> None:
    await desk.endpoint(f"{receiver.url}/gigabytes")
    await desk.endpoint(f"{receiver.url}/dribble")
    receiver.always["/gigabytes"] = endless(b"x" * 65536, 0, receiver.over)
    receiver.always["/dribble"] = endless(b"x", 0.05, receiver.over)
    await desk.job()
    gigabytes, dribble = await desk.until_finished()
    assert {gigabytes.status, dribble.status} == {DeliveryStatus.SUCCEEDED}
    [attempt] = await desk.attempts(gigabytes.id)
    assert attempt.response_body == "x" * 4096
    [attempt] = await desk.attempts(dribble.id)
    assert attempt.response_body is not None
    assert 0 < len(attempt.response_body) < 50


async def test_an_endpoint_that_never_answers_has_failed_in_time(
    desk: Desk, receiver: Receiver, webhooks_database: Database, box: SecretBox
) -> None:
    await desk.endpoint(receiver.url)
    receiver.always["/"] = silent(receiver.over)
    await desk.job()
    async with dispatching(webhooks_database, Sender(LOCAL, attempt_seconds=0.3), box):
        [attempt] = await desk.until_attempts(1)
    assert (attempt.outcome, attempt.response_status) == ("failed", None)
    assert attempt.error == "There was no answer within 0.3 seconds."


async def test_an_endpoint_that_hangs_delays_no_other(
    desk: Desk, receiver: Receiver, webhooks_database: Database, box: SecretBox
) -> None:
    await desk.endpoint(f"{receiver.url}/hangs", "job.succeeded")
    await desk.endpoint(f"{receiver.url}/quick", "job.failed")
    receiver.always["/hangs"] = silent(receiver.over)
    for _ in range(12):
        await desk.job()
    async with dispatching(webhooks_database, Sender(LOCAL, attempt_seconds=60), box):
        await desk.until(lambda: len(receiver.at("/hangs")) == 10, "it is not hanging")
        await desk.job(error=JobError(code="broken", message="It broke."))
        await desk.until(lambda: bool(receiver.at("/quick")), "the quick one waits")
    assert len(receiver.at("/hangs")) == 10, "there is a limit to what hangs at one endpoint"


@pytest.mark.usefixtures("dispatcher")
async def test_an_ordered_endpoint_hears_of_one_thing_after_the_other(desk: Desk, receiver: Receiver) -> None:
    await desk.endpoint(receiver.url, ordered=True)
    receiver.behaviours.append(answer(500))
    ended = [await desk.job() for _ in range(3)]
    await desk.until_attempts(1)
    assert len(receiver.received) == 1, "the first has to get through first"
    await desk.pass_time(timedelta(seconds=6))
    await desk.until_finished()
    told = [message.event["data"]["id"] for message in receiver.received]
    first, *rest = (format_id("job", job.id) for job in ended)
    assert told == [first, first, *rest]
    attempts = await desk.attempts()
    for one, next_one in pairwise(attempts):
        assert one.started_at + timedelta(milliseconds=one.duration_ms - 1) <= next_one.started_at


@pytest.mark.parametrize(("few", "lanes"), [(claims.FEW, claims.MAX_LANES), (1, 1)])
async def test_two_dispatchers_send_everything_once_however_much_is_due(
    desk: Desk,
    receiver: Receiver,
    webhooks_database: Database,
    sender: Sender,
    box: SecretBox,
    monkeypatch: pytest.MonkeyPatch,
    few: int,
    lanes: int,
) -> None:
    monkeypatch.setattr(claims, "FEW", few)
    monkeypatch.setattr(claims, "MAX_LANES", lanes)
    for path in ("/a", "/b", "/c"):
        await desk.endpoint(receiver.url + path, ordered=path == "/c")
    for _ in range(8):
        await desk.job()
    async with (
        dispatching(webhooks_database, sender, box),
        dispatching(webhooks_database, sender, box),
    ):
        await desk.until_finished()
    assert len(receiver.received) == len({(message.path, message.id) for message in receiver.received}) == 24


@pytest.mark.usefixtures("dispatcher")
async def test_a_delivery_can_be_sent_again_and_so_can_all_that_failed(
    desk: Desk, receiver: Receiver, api_database: Database
) -> None:
    endpoint = await desk.endpoint(receiver.url)
    start = utc_now() - timedelta(hours=1)
    receiver.behaviours.append(answer(410))
    await desk.job()
    [delivery] = await desk.until_finished()
    async with api_database.tenant(desk.organization_id) as session:
        with pytest.raises(redelivery.EndpointDisabled):
            await redelivery.redeliver(session, delivery.id)
        endpoint.status, endpoint.disabled_at, endpoint.disabled_reason = EndpointStatus.ENABLED, None, None
        await session.merge(endpoint)
    async with api_database.tenant(desk.organization_id) as session:
        await redelivery.redeliver(session, delivery.id)
    await desk.until_attempts(2)
    [delivery] = await desk.until_finished()
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.SUCCEEDED, 2)
    async with api_database.tenant(desk.organization_id) as session:
        again = await redelivery.redeliver_range(session, endpoint, since=start, until=utc_now())
        assert again.count == 0, "none has failed"
        again = await redelivery.redeliver_range(
            session, endpoint, since=start, until=utc_now(), statuses=[DeliveryStatus.SUCCEEDED]
        )
        assert again.count == 1
    await desk.until_attempts(3)
    assert len({message.id for message in receiver.received}) == 1


async def test_what_a_dispatcher_has_claimed_is_sent_again_once_its_lease_is_over(
    desk: Desk, receiver: Receiver, webhooks_database: Database, sender: Sender, box: SecretBox
) -> None:
    receiver.behaviours.append(silent(receiver.over))
    await desk.endpoint(receiver.url)
    await desk.job()
    async with dispatching(webhooks_database, sender, box):
        await desk.until(lambda: bool(receiver.received), "nothing was sent")
    assert await desk.attempts() == [], "it was cut short"
    assert timedelta(0) < await desk.due_in() <= LEASE
    await desk.pass_time(LEASE)
    async with dispatching(webhooks_database, sender, box):
        [delivery] = await desk.until_finished()
    first, second = receiver.received
    assert first.id == second.id
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.SUCCEEDED, 2)
