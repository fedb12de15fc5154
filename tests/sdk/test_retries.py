"""A request is sent again when that may help and cannot harm."""

from __future__ import annotations

import socket
from threading import Event
from typing import Any

import pytest

from impasto import APIConnectionError, APITimeoutError, ConflictError, RateLimitError, ServerError
from tests.sdk import samples
from tests.sdk.conftest import ImpatientClock, Sdk
from tests.sdk.scripted_server import HANG_UP, Received, ScriptedServer, answer, problem


def create(client: Any) -> Any:
    return client.jobs.create("text-to-image", {"prompt": "a big red heart"})


async def test_every_try_carries_the_same_key_and_body(
    sdk: Sdk, server: ScriptedServer, clock: ImpatientClock
) -> None:
    server.will(problem(503, "service-unavailable"), HANG_UP, answer(202, samples.job()))
    job = await sdk(create)
    assert job.id == samples.JOB_ID
    assert len(server.received) == 3
    assert len({request.headers["idempotency-key"] for request in server.received}) == 1
    assert len({request.body for request in server.received}) == 1
    assert len(clock.slept) == 2


async def test_another_call_has_another_key(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(answer(202, samples.job()), answer(202, samples.job()))
    await sdk(create)
    await sdk(create)
    first, second = (request.headers["idempotency-key"] for request in server.received)
    assert first != second
    assert first.startswith('"')
    assert first.endswith('"')


async def test_a_key_of_ones_own_is_sent_as_a_structured_field_string(
    sdk: Sdk, server: ScriptedServer
) -> None:
    server.will(answer(202, samples.job()))
    await sdk(lambda client: client.jobs.create("text-to-image", {}, idempotency_key='order "7"'))
    assert server.received[0].headers["idempotency-key"] == '"order \\"7\\""'


async def test_the_body_is_that_of_the_call_even_if_the_caller_goes_on_changing_it(
    sdk: Sdk, server: ScriptedServer, clock: ImpatientClock
) -> None:
    values = {"prompt": "a big red heart"}
    clock.on_sleep = lambda: values.update(prompt="something else")
    server.will(problem(503, "service-unavailable"), answer(202, samples.job()))
    await sdk(lambda client: client.jobs.create("text-to-image", values))
    assert values["prompt"] == "something else"
    assert server.received[1].json["input"]["prompt"] == "a big red heart"


async def test_retries_end_with_the_last_error(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(*[problem(503, "service-unavailable")] * 9)
    with pytest.raises(ServerError):
        await sdk(create)
    assert len(server.received) == 3
    with pytest.raises(ServerError):
        await sdk.with_options(max_retries=0)(create)
    assert len(server.received) == 4


async def test_pauses_grow_and_are_spread_by_chance(
    sdk: Sdk, server: ScriptedServer, clock: ImpatientClock
) -> None:
    server.will(*[problem(503, "service-unavailable")] * 12)
    for chance in (0.0, 0.999):
        clock.chance = chance
        with pytest.raises(ServerError):
            await sdk.with_options(max_retries=5)(create)
    assert clock.slept[:5] == [0.25, 0.5, 1.0, 2.0, 4.0]
    assert clock.slept[5:] == pytest.approx([0.5, 1.0, 2.0, 4.0, 8.0], rel=0.01)


@pytest.mark.parametrize("retry_after", ["7", "Thu, 01 Jan 2026 00:00:07 GMT"])
async def test_the_pause_is_the_one_the_server_asks_for(
    sdk: Sdk, server: ScriptedServer, clock: ImpatientClock, retry_after: str
) -> None:
    server.will(problem(429, "quota-exceeded", retry_after=retry_after), answer(202, samples.job()))
    await sdk(create)
    assert clock.slept == [7.0]


async def test_who_is_asked_to_wait_for_long_is_told_rather_than_kept_waiting(
    sdk: Sdk, server: ScriptedServer, clock: ImpatientClock
) -> None:
    server.will(problem(429, "quota-exceeded", retry_after="3600"))
    with pytest.raises(RateLimitError) as caught:
        await sdk(create)
    assert caught.value.retry_after(clock.now()) == 3600
    assert clock.slept == []


@pytest.mark.parametrize("nonsense", ["soon", "-1", "Thu, 32 Jan 2026 00:00:07 GMT"])
async def test_a_pause_that_makes_no_sense_is_ignored(
    sdk: Sdk, server: ScriptedServer, clock: ImpatientClock, nonsense: str
) -> None:
    server.will(problem(503, "service-unavailable", retry_after=nonsense), answer(202, samples.job()))
    await sdk(create)
    assert clock.slept == [0.25]


async def test_a_conflict_is_retried_only_if_the_first_try_is_still_being_worked_on(
    sdk: Sdk, server: ScriptedServer
) -> None:
    server.will(problem(409, "idempotency-in-flight"), answer(202, samples.job()))
    await sdk(create)
    server.will(problem(409, "something-else"))
    with pytest.raises(ConflictError):
        await sdk(create)
    assert len(server.received) == 3


def create_key(client: Any) -> Any:
    return client.api_keys.create("nightly")


@pytest.mark.parametrize("trouble", [HANG_UP, problem(500, "internal-error")])
async def test_a_second_api_key_is_never_made_by_a_retry(
    sdk: Sdk, server: ScriptedServer, trouble: Any
) -> None:
    server.will(trouble, answer(201, samples.api_key()))
    with pytest.raises((APIConnectionError, ServerError)):
        await sdk(create_key)
    assert len(server.received) == 1


async def test_even_an_unsafe_request_is_retried_if_it_surely_did_nothing(
    sdk: Sdk, server: ScriptedServer
) -> None:
    server.will(problem(429, "quota-exceeded"), answer(201, samples.api_key()))
    key = await sdk(create_key)
    assert key.secret == "imp_live_secret"
    assert "imp_live_secret" not in repr(key)


async def test_nobody_listening_is_tried_again_and_then_told(
    sdk: Sdk, clock: ImpatientClock, unused_port: int
) -> None:
    client = type(sdk.client)("key", base_url=f"http://127.0.0.1:{unused_port}", clock=clock)
    with pytest.raises(APIConnectionError, match=r"no answer from 127\.0\.0\.1") as caught:
        await Sdk(client)(create_key)
    assert not caught.value.sent
    assert caught.value.__cause__ is not None
    assert len(clock.slept) == 2


async def test_a_silent_server_times_out(sdk: Sdk, server: ScriptedServer) -> None:
    done = Event()

    def say_nothing(request: Received) -> Any:
        done.wait(10)
        return HANG_UP

    server.will(say_nothing)
    with pytest.raises(APITimeoutError) as caught:
        await sdk.with_options(timeout=0.05, max_retries=0)(lambda client: client.jobs.get("job_1"))
    done.set()
    assert isinstance(caught.value, TimeoutError)


async def test_an_answer_that_may_take_long_has_the_time(sdk: Sdk, server: ScriptedServer) -> None:
    seen: list[Any] = []
    server.will(answer(202, samples.job()))
    with_hook = sdk.client._core.io.client.event_hooks

    def remember(request: Any) -> None:
        seen.append(request.extensions["timeout"])

    async def remember_async(request: Any) -> None:
        remember(request)

    with_hook["request"] = [remember if sdk.client._core.io.blocking else remember_async]
    sdk.client._core.io.client.event_hooks = with_hook
    await sdk(lambda client: client.jobs.create("text-to-image", {}, wait=60))
    assert server.received[0].headers["prefer"] == "wait=60"
    assert seen == [{"connect": 10, "read": 70, "write": 10, "pool": 10}]


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
