"""Usage and credits, and the limits that a caller may run into."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from impasto import RateLimitError
from impasto._cli import main
from tests.sdk import samples
from tests.sdk.conftest import ImpatientClock, Sdk
from tests.sdk.scripted_server import Answer, ScriptedServer, answer


def usage(**changes: Any) -> dict[str, Any]:
    return {
        "object": "usage",
        "day": "2026-01-01",
        "model": None,
        "api_key_id": None,
        "api_key_name": None,
        "jobs_succeeded": 12,
        "jobs_failed": 0,
        "jobs_canceled": 1,
        "images": 24,
        "pixel_steps": 125_829_120,
        "gpu_seconds": 31.8,
        "credits": 60,
    } | changes


BALANCE = {
    "object": "credit_balance",
    "available": 497,
    "held": 3,
    "owed": 0,
    "expiring_soon": 0,
    "next_expiry": "2026-02-01T00:00:00Z",
}


async def test_usage_is_asked_for_by_days_and_groups(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(
        answer(200, samples.page(usage(), next_cursor="abc")), answer(200, samples.page(usage(day=None)))
    )
    rows = await sdk.all(
        lambda client: client.usage.list(start=date(2026, 1, 1), end="2026-01-31", group_by=["day", "model"])
    )
    assert [(row.day, row.credits) for row in rows] == [(date(2026, 1, 1), 60), (None, 60)]
    assert server.received[0].path == "/v1/usage?start=2026-01-01&end=2026-01-31&group_by=day%2Cmodel"


async def test_usage_can_be_had_as_csv(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(Answer(200, b"day,credits\r\n2026-01-01,60\r\n", {"content-type": "text/csv; charset=utf-8"}))
    assert await sdk(lambda client: client.usage.csv(group_by="day")) == "day,credits\r\n2026-01-01,60\r\n"
    assert server.received[0].headers["accept"] == "text/csv"


async def test_the_balance_its_grants_and_its_entries(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(answer(200, BALANCE))
    balance = await sdk(lambda client: client.credits.balance())
    assert (balance.available, balance.held) == (497, 3)
    server.will(answer(200, samples.page()), answer(200, samples.page()))
    assert await sdk.all(lambda client: client.credits.grants(limit=1)) == []
    assert await sdk.all(lambda client: client.credits.entries()) == []
    assert [request.path for request in server.received[1:]] == [
        *["/v1/credits/grants?limit=1", "/v1/credits/entries"]
    ]


async def test_an_error_names_the_limits_that_were_met(
    sdk: Sdk, server: ScriptedServer, clock: ImpatientClock
) -> None:
    exceeded = {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Too many requests",
        "status": 429,
        "detail": "Your plan makes 10 jobs an hour.",
        "code": "quota-exceeded",
        "request_id": "req_1",
        "violated-policies": ["job-creations"],
    }
    server.will(answer(429, exceeded, retry_after="1800"))
    with pytest.raises(RateLimitError, match="10 jobs an hour") as caught:
        await sdk(lambda client: client.jobs.create("text-to-image", {"prompt": "x"}))
    assert caught.value.violated_policies == ["job-creations"]
    assert caught.value.retry_after(clock.now()) == 1800
    assert clock.slept == []


@pytest.fixture
def environment(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPASTO_API_KEY", "imp_test_key")
    monkeypatch.setenv("IMPASTO_BASE_URL", server.url)


@pytest.mark.usefixtures("environment")
def test_a_shell_shows_usage_and_credits(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.will(answer(200, BALANCE))
    assert main(["credits"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "available  held  owed  expiring_soon  next_expiry",
        "497        3     0     0              2026-02-01 00:00:00+00:00",
    ]
    server.will(answer(200, samples.page(usage(model="impasto-shapes"))))
    assert main(["usage", "--by", "day,model", "--start", "2026-01-01"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["day", "model", "jobs_succeeded"]
    assert row.split() == ["2026-01-01", "impasto-shapes", "12", "0", "1", "24", "31.8", "60"]
    server.will(Answer(200, b"day,credits\n", {"content-type": "text/csv"}))
    assert main(["usage", "--csv"]) == 0
    assert capsys.readouterr().out == "day,credits\n"
