"""A job's events: typed, each once, whatever happens to the connection."""

from __future__ import annotations

import base64
from threading import Event
from typing import Any

import pytest

from impasto import APIConnectionError, APITimeoutError, Impasto, InvalidResponseError, NotFoundError
from impasto.types import Canceled, ImageEvent, Node, Queued, Started, Step, Succeeded
from tests.sdk import samples
from tests.sdk.conftest import ImpatientClock, Sdk
from tests.sdk.samples import QUEUED, STARTED, STEP, event, final
from tests.sdk.scripted_server import HANG_UP, Answer, ScriptedServer, answer, problem, stream


def events(client: Any) -> Any:
    return client.jobs.events(samples.JOB_ID)


async def test_events_are_typed(sdk: Sdk, server: ScriptedServer) -> None:
    preview = "data:image/jpeg;base64," + base64.b64encode(b"\xff\xd8\xff").decode()
    server.will(
        stream(
            QUEUED,
            STARTED,
            event("1-2", "node", node="denoise_0", node_type="denoise_latents", state="started"),
            event("1-3", "step", node="denoise_0", step=1, total=2, progress=0.5, preview=preview),
            event("1-4", "step", node="denoise_0", step=2, total=2, progress=0.9),
            event("1-5", "image", index=0, node="image_0", width=64, height=64),
            final(images=[samples.image()]),
        )
    )
    queued, started, node, step, last_step, image, succeeded = await sdk.all(events)
    assert isinstance(queued, Queued)
    assert queued.id == "0-1"
    assert isinstance(started, Started)
    assert started.attempt == 1
    assert isinstance(node, Node)
    assert (node.type, node.node_type, node.state) == ("node", "denoise_latents", "started")
    assert isinstance(step, Step)
    assert step.preview_jpeg == b"\xff\xd8\xff"
    assert last_step.preview_jpeg is None
    assert isinstance(image, ImageEvent)
    assert image.index == 0
    assert isinstance(succeeded, Succeeded)
    assert succeeded.job.images[0].seed == 7
    request = server.received[0]
    assert request.headers["accept"] == "text/event-stream"
    assert "last-event-id" not in request.headers


async def test_the_place_in_the_queue_comes_again_as_it_changes(sdk: Sdk, server: ScriptedServer) -> None:
    places = [{"position": 2, "eta_seconds": None}, {"position": 1, "eta_seconds": 2.5}]
    server.will(
        stream(*(event("0-1", "queued", job_id=samples.JOB_ID, queue=place) for place in places), final())
    )
    first, second, _ = await sdk.all(events)
    assert isinstance(first, Queued)
    assert isinstance(second, Queued)
    assert first.queue is not None
    assert second.queue is not None
    assert (first.queue.position, first.queue.eta_seconds) == (2, None)
    assert (second.queue.position, second.queue.eta_seconds) == (1, 2.5)


async def test_the_stream_may_come_in_single_bytes(sdk: Sdk, server: ScriptedServer) -> None:
    whole = QUEUED + b": heartbeat\n\n" + STARTED + STEP + final()
    server.will(stream(*(whole[position : position + 1] for position in range(len(whole)))))
    assert [event.type for event in await sdk.all(events)] == ["queued", "started", "step", "succeeded"]


async def test_a_dropped_stream_goes_on_after_the_last_event(
    sdk: Sdk, server: ScriptedServer, clock: ImpatientClock
) -> None:
    server.will(
        stream(QUEUED, STARTED, STEP[:20], cut=True),  # in the middle of an event
        HANG_UP,
        problem(503, "service-unavailable"),
        stream(b": heartbeat\n\n"),  # ends properly, though the job has not
        stream(STEP),
        stream(final()),
    )
    assert [event.type for event in await sdk.all(events)] == ["queued", "started", "step", "succeeded"]
    resumed_after = [request.headers.get("last-event-id") for request in server.received]
    assert resumed_after == [None, "1-1", "1-1", "1-1", "1-1", "1-2"]
    assert clock.slept == [0.25, 0.5, 1.0, 2.0, 0.25]  # an event is a success: pauses begin anew


async def test_the_server_may_ask_for_longer_pauses(
    sdk: Sdk, server: ScriptedServer, clock: ImpatientClock
) -> None:
    server.will(stream(b"retry: 5000\n\n", QUEUED), stream(final()))
    await sdk.all(events)
    assert clock.slept == [5.0]


async def test_nothing_more_to_say_ends_the_stream(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(answer(204))
    seen = await sdk.all(lambda client: client.jobs.events(samples.JOB_ID, last_event_id="final"))
    assert seen == []
    assert server.received[0].headers["last-event-id"] == "final"


async def test_events_of_types_unknown_to_this_version_are_skipped(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(stream(event("1-1", "weather", sunny=True), final("canceled")))
    (canceled,) = await sdk.all(events)
    assert isinstance(canceled, Canceled)


@pytest.mark.parametrize("data", [b"hello", b"[]", b"{}"])
async def test_an_event_that_makes_no_sense_is_an_error(
    sdk: Sdk, server: ScriptedServer, data: bytes
) -> None:
    server.will(stream(b"event: started\ndata: " + data + b"\n\n"))
    with pytest.raises(InvalidResponseError):
        await sdk.all(events)


async def test_a_stream_that_is_refused_is_not_asked_for_again(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(problem(404, "not-found"))
    with pytest.raises(NotFoundError, match="This is not-found"):
        await sdk.all(events)
    assert len(server.received) == 1


async def test_a_stream_that_never_comes_is_given_up(
    sdk: Sdk, server: ScriptedServer, clock: ImpatientClock
) -> None:
    server.will(*[HANG_UP] * 9)
    with pytest.raises(APIConnectionError):
        await sdk.all(events)
    assert clock.slept == [0.25, 0.5, 1.0, 2.0, 4.0]


async def test_a_stream_gone_silent_is_taken_for_dead(
    sdk: Sdk, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("impasto._events.IDLE_TIMEOUT", 0.05)
    monkeypatch.setattr("impasto._events.MAX_FAILURES", 1)
    done = Event()

    def pieces() -> Any:
        yield QUEUED
        done.wait(10)

    server.will(lambda _: Answer(pieces=pieces()))
    with pytest.raises(APITimeoutError):
        await sdk.all(events)
    done.set()


async def test_leaving_the_loop_closes_the_connection(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(stream(QUEUED, STARTED, final()), stream(final()))
    client: Any = sdk.client
    if isinstance(client, Impasto):
        for _ in client.jobs.events(samples.JOB_ID):
            break
        with client.jobs.events(samples.JOB_ID) as opened:
            assert [event.type for event in opened] == ["succeeded"]
    else:
        async with client.jobs.events(samples.JOB_ID) as opened:
            async for _ in opened:
                break
        async with client.jobs.events(samples.JOB_ID) as opened:
            assert [event.type async for event in opened] == ["succeeded"]
    pool = client._core.io.client._transport._pool
    assert all(connection.is_idle() for connection in pool.connections)
