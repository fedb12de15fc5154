"""Lists come in pages, and iterate as if they did not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tests.sdk import samples
from tests.sdk.conftest import Sdk
from tests.sdk.scripted_server import ScriptedServer, answer


async def test_iterating_fetches_each_page_when_it_is_reached(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(
        answer(200, samples.page(samples.job(id="job_3"), samples.job(id="job_2"), next_cursor="abc+/=")),
        answer(200, samples.page(samples.job(id="job_1"))),
    )
    jobs = await sdk.all(lambda client: client.jobs.list(status="succeeded", limit=2))
    assert [job.id for job in jobs] == ["job_3", "job_2", "job_1"]
    first, second = server.received
    assert first.path == "/v1/jobs?status=succeeded&limit=2"
    assert second.path == "/v1/jobs?status=succeeded&limit=2&cursor=abc%2B%2F%3D"


async def test_a_page_can_be_had_by_itself(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(
        answer(200, samples.page(samples.job(id="job_2"), next_cursor="abc")),
        answer(200, samples.page(samples.job(id="job_1"))),
    )
    page = await sdk(lambda client: client.jobs.list(limit=1))
    assert [job.id for job in page.data] == ["job_2"]
    assert page.has_more
    assert page.next_cursor == "abc"
    assert page.request_id == "req_1"
    assert page.response.status_code == 200
    assert "has_more=True" in repr(page)

    last = await sdk(lambda _: page.next_page())
    assert [job.id for job in last.data] == ["job_1"]
    assert not last.has_more
    assert await sdk(lambda _: last.next_page()) is None
    assert len(server.received) == 2


async def test_an_empty_list_is_empty(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(answer(200, samples.page()))
    assert await sdk.all(lambda client: client.images.list(job_id=samples.JOB_ID)) == []
    assert server.received[0].path == f"/v1/images?job_id={samples.JOB_ID}"


async def test_filters_by_time_carry_their_zone(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(answer(200, samples.page()), answer(200, samples.page()))
    aware = datetime(2026, 1, 1, tzinfo=UTC)
    await sdk(lambda client: client.jobs.list(created_after=aware))
    assert server.received[0].path == "/v1/jobs?created_after=2026-01-01T00%3A00%3A00%2B00%3A00"
    naive = aware.astimezone().replace(tzinfo=None)
    await sdk(lambda client: client.jobs.list(created_before=naive))
    sent = server.received[1].path.partition("=")[2].replace("%3A", ":").replace("%2B", "+")
    assert datetime.fromisoformat(sent) == aware


async def test_items_of_a_list_are_as_alive_as_any(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(lambda _: answer(200, samples.page(samples.image(f"{server.url}/file"))), answer(200, "png"))
    images: list[Any] = await sdk.all(lambda client: client.images.list())
    assert await sdk(lambda _: images[0].bytes) == b'"png"'
