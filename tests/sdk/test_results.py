"""Results are typed, tolerant of what is new, and know the response they came in."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from impasto import ImpastoError, Job
from tests.sdk import samples
from tests.sdk.conftest import Sdk
from tests.sdk.scripted_server import ScriptedServer, answer


def get(client: Any) -> Any:
    return client.jobs.get(samples.JOB_ID)


async def test_dates_are_dates(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(answer(200, samples.job("succeeded", finished_at="2026-01-01T00:00:03.5Z")))
    job = await sdk(get)
    assert job.created_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert job.finished_at - job.created_at == timedelta(seconds=3.5)
    assert job.started_at is None
    assert job.finished


async def test_what_a_newer_api_adds_is_kept_and_breaks_nothing(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(answer(200, samples.job("paused", price="0.01", images=[samples.image(nsfw=False)])))
    job = await sdk(get)
    assert job.status == "paused"
    assert job.price == "0.01"
    assert job.images[0].nsfw is False
    assert job.model_dump()["price"] == "0.01"


async def test_a_result_knows_its_response(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(answer(200, samples.job(), ratelimit='"burst";r=50;t=30'))
    job = await sdk(get)
    assert job.request_id == "req_1"
    assert job.response.status_code == 200
    assert job.response.headers["ratelimit"] == '"burst";r=50;t=30'


async def test_equal_answers_are_equal_results(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(answer(200, samples.job()), answer(200, samples.job()), answer(200, samples.job("running")))
    first, second, third = [await sdk(get) for _ in range(3)]
    assert first == second
    assert first != third


async def test_results_can_be_pickled_and_copied_and_then_know_no_client(
    sdk: Sdk, server: ScriptedServer
) -> None:
    server.will(answer(200, samples.job("succeeded", images=[samples.image()])))
    job = await sdk(get)
    assert copy.deepcopy(job).request_id == "req_1"
    thawed: Job = pickle.loads(pickle.dumps(job))  # noqa: S301
    assert thawed.model_dump() == job.model_dump()
    with pytest.raises(ImpastoError, match="by its id"):
        await sdk(lambda _: thawed.images[0].bytes)


async def test_a_delete_answers_nothing(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(answer(204))
    assert await sdk(lambda client: client.images.delete(samples.IMAGE_ID)) is None
    assert server.received[0].method == "DELETE"


async def test_each_request_is_what_the_contract_says(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(*[answer(200, samples.api_key())] * 4)
    tomorrow = datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=1)))
    await sdk(
        lambda client: client.api_keys.create(
            "nightly", mode="test", scopes=("jobs:read",), expires_at=tomorrow
        )
    )
    await sdk(lambda client: client.api_keys.roll("key_1", grace_seconds=60))
    await sdk(lambda client: client.api_keys.revoke("key_1"))
    created, rolled, revoked = server.received
    assert created.json == {
        "name": "nightly",
        "mode": "test",
        "scopes": ["jobs:read"],
        "expires_at": "2026-01-02T00:00:00+01:00",
    }
    assert (rolled.method, rolled.path, rolled.json) == (
        "POST",
        "/v1/api-keys/key_1/roll",
        {"grace_seconds": 60},
    )
    assert (revoked.method, revoked.path, revoked.body) == ("DELETE", "/v1/api-keys/key_1", b"")
    assert "idempotency-key" not in created.headers
    assert created.headers["authorization"] == "Bearer imp_test_key"
    assert created.headers["user-agent"].startswith("impasto-python/")
