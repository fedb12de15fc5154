"""How many streams and waits an organization may have open."""

from __future__ import annotations

import httpx
import pytest

from impasto_core.settings import Settings
from tests.support.streams import follow

REQUEST = {"pipeline": "text-to-image", "input": {"prompt": "a big red heart"}}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"max_followers": 1})


async def test_one_stream_too_many_is_refused_and_a_closed_one_makes_room(client: httpx.AsyncClient) -> None:
    job_id = (await client.post("/v1/jobs", json=REQUEST)).json()["id"]
    first = follow(client, job_id)
    await anext(first)

    refused = await client.get(f"/v1/jobs/{job_id}/events")
    assert refused.status_code == 429
    assert refused.json()["code"] == "too-many-followers"
    assert refused.headers["retry-after"] == "5"

    created = await client.post("/v1/jobs", json=REQUEST, headers={"Prefer": "wait=30"})
    assert created.status_code == 202, "the job is made, but nobody waits for it"
    assert "preference-applied" not in created.headers

    await client.post(f"/v1/jobs/{job_id}/cancel")
    assert [event.type async for event in first] == ["canceled"]
    await anext(follow(client, created.json()["id"]))
