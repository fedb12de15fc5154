"""Waiting for a job, by any means."""

from __future__ import annotations

import asyncio
from functools import partial
from threading import Event
from typing import Any

import pytest

from impasto import APIConnectionError, JobCanceled, JobFailed, NotFoundError, Progress, WaitTimeout
from tests.sdk import samples
from tests.sdk.conftest import ImpatientClock, Sdk
from tests.sdk.samples import QUEUED, STARTED, STEP, event, final, job
from tests.sdk.scripted_server import Answer, ScriptedServer, answer, problem, stream


def wait(client: Any) -> Any:
    return client.jobs.wait(samples.JOB_ID)


async def test_a_job_is_followed_to_its_end(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(stream(QUEUED, STARTED, STEP, final(images=[samples.image()])))
    done = await sdk(wait)
    assert done.status == "succeeded"
    assert len(done.images) == 1
    assert len(server.received) == 1


async def test_progress_is_told_as_it_changes(sdk: Sdk, server: ScriptedServer) -> None:
    node = event("1-3", "node", node="denoise_0", node_type="denoise_latents", state="completed")
    server.will(stream(QUEUED, STARTED, STEP, node, final()))
    seen: list[Progress] = []
    await sdk(lambda client: client.jobs.wait(samples.JOB_ID, on_progress=seen.append))
    assert [(progress.status, progress.fraction, progress.step, progress.total) for progress in seen] == [
        ("queued", 0.0, 0, 0),
        ("running", 0.0, 0, 0),
        ("running", 0.5, 1, 2),
        ("succeeded", 1.0, 1, 2),
    ]


async def test_on_progress_may_be_asynchronous_where_the_client_is(sdk: Sdk, server: ScriptedServer) -> None:
    seen: list[str] = []

    async def on_progress(progress: Progress) -> None:
        await asyncio.sleep(0)
        seen.append(progress.status)

    server.will(stream(QUEUED, final()))
    waiting = sdk(lambda client: client.jobs.wait(samples.JOB_ID, on_progress=on_progress))
    if sdk.client._core.io.blocking:
        with pytest.raises(TypeError, match="synchronous"):
            await waiting
    else:
        await waiting
        assert seen == ["queued", "succeeded"]


async def test_a_failed_job_says_why(sdk: Sdk, server: ScriptedServer) -> None:
    error = {
        "code": "node-failed",
        "message": "out of memory",
        "node_id": "denoise_0",
        "node_type": "denoise_latents",
        "retryable": True,
    }
    server.will(stream(final("failed", error=error)))
    with pytest.raises(JobFailed) as caught:
        await sdk(wait)
    assert caught.value.job_id == samples.JOB_ID
    assert caught.value.job.error
    assert caught.value.job.error.node_id == "denoise_0"
    assert str(caught.value) == (
        f"job {samples.JOB_ID} failed in node denoise_0 (denoise_latents): out of memory [node-failed]"
        " Trying again may help."
    )
    server.will(stream(final("failed")))
    with pytest.raises(JobFailed, match="failed"):
        await sdk(wait)


async def test_a_canceled_job_is_no_success(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(stream(final("canceled")))
    with pytest.raises(JobCanceled, match=samples.JOB_ID):
        await sdk(wait)


async def test_a_job_that_was_canceled_for_the_time_it_took_says_so(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(stream(final("canceled", cancel_reason="deadline")))
    with pytest.raises(JobCanceled, match="had not ended by its deadline"):
        await sdk(wait)


async def test_without_a_stream_the_job_itself_is_asked_for(
    sdk: Sdk, server: ScriptedServer, clock: ImpatientClock
) -> None:
    server.will(
        problem(406, "not-acceptable"),
        answer(200, job("queued")),
        answer(200, job("running")),
        answer(200, job("succeeded", images=[samples.image()])),
    )
    seen: list[Progress] = []
    done = await sdk(lambda client: client.jobs.wait(samples.JOB_ID, on_progress=seen.append))
    assert len(done.images) == 1
    assert [progress.status for progress in seen] == ["queued", "running", "succeeded"]
    assert clock.slept == [0.5, 0.75]


async def test_a_job_that_is_not_there_is_not_waited_for(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(problem(404, "not-found"), problem(404, "not-found"))
    with pytest.raises(NotFoundError) as caught:
        await sdk(wait)
    assert samples.JOB_ID in caught.value.__notes__[0]


async def test_a_wait_that_ends_before_the_job_names_the_job(
    sdk: Sdk, server: ScriptedServer, clock: ImpatientClock
) -> None:
    server.will(problem(406, "not-acceptable"), *[answer(200, job("running"))] * 99)
    with pytest.raises(WaitTimeout, match=r"jobs\.cancel") as caught:
        await sdk(lambda client: client.jobs.wait(samples.JOB_ID, timeout=10))
    assert caught.value.job_id == samples.JOB_ID
    assert isinstance(caught.value, TimeoutError)
    assert sum(clock.slept) == pytest.approx(10)


async def test_a_wait_ends_in_time_on_a_silent_stream(sdk: Sdk, server: ScriptedServer) -> None:
    """The clock stands still while nothing comes: what ends the wait is the read timeout."""
    done = Event()

    def pieces() -> Any:
        yield QUEUED
        done.wait(10)

    server.will(lambda _: Answer(pieces=pieces()), *[answer(200, job("running"))] * 99)
    with pytest.raises(WaitTimeout):
        await sdk(lambda client: client.jobs.wait(samples.JOB_ID, timeout=0.05))
    done.set()


async def test_a_wait_of_no_time_is_a_look(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(answer(200, job("succeeded")), answer(200, job("running")))
    look = partial(sdk, lambda client: client.jobs.wait(samples.JOB_ID, timeout=0))
    assert (await look()).status == "succeeded"
    with pytest.raises(WaitTimeout):
        await look()


async def test_a_callback_that_fails_is_heard(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(stream(QUEUED, final()))

    def on_progress(progress: Progress) -> None:
        raise APIConnectionError("mine")

    with pytest.raises(APIConnectionError, match="mine"):
        await sdk(lambda client: client.jobs.wait(samples.JOB_ID, on_progress=on_progress))
