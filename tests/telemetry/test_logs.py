"""One line a record, JSON or text, with what it belongs to and without what is secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext

from impasto_core.api_keys.tokens import mint
from impasto_core.settings import Settings
from impasto_core.storage import ObjectStore
from impasto_core.telemetry import log_context
from impasto_core.telemetry.logs import JsonFormatter, TextFormatter
from tests.support.processes import eventually
from tests.support.tenants import Tenant
from tests.telemetry.conftest import PROMPT, Start, base_url, paint

Logged = Callable[[], list[dict[str, Any]]]

logger = logging.getLogger("impasto.tests")


@pytest.fixture
def logged(output: Callable[[logging.Formatter], io.StringIO]) -> Logged:
    """What was logged as JSON, decoded."""
    stream = output(JsonFormatter())
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture
def output() -> Iterator[Callable[[logging.Formatter], io.StringIO]]:
    """What is logged through a formatter."""
    handlers: list[logging.Handler] = []

    def attach(formatter: logging.Formatter) -> io.StringIO:
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(formatter)
        handlers.append(handler)
        logger.addHandler(handler)
        return stream

    yield attach
    for handler in handlers:
        logger.removeHandler(handler)


def test_a_record_is_one_object_that_says_when_where_and_what(logged: Logged) -> None:
    logger.warning("%s of\n%s", 1, "ä")
    [record] = logged()
    assert record.pop("timestamp").endswith("+00:00")
    assert record == {"level": "warning", "logger": "impasto.tests", "message": "1 of\nä"}


def test_it_carries_what_it_belongs_to(logged: Logged) -> None:
    span = NonRecordingSpan(SpanContext(0xABC, 0xDEF, is_remote=False))
    with log_context(job_id="job_1", attempt=2), trace.use_span(span):
        with log_context(organization_id="org_1"):
            logger.warning("inside")
        logger.warning("between")
    logger.warning("outside")
    inside, between, outside = logged()
    assert (inside["job_id"], inside["attempt"], inside["organization_id"]) == ("job_1", 2, "org_1")
    assert (inside["trace_id"], inside["span_id"]) == (f"{0xABC:032x}", f"{0xDEF:016x}")
    assert "organization_id" not in between
    assert outside.keys() == {"timestamp", "level", "logger", "message"}


def test_an_error_has_its_traceback(logged: Logged) -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        logger.exception("it")
    [record] = logged()
    assert "ValueError: broken" in record["exception"]
    assert "\n" in record["exception"]


def test_text_is_for_people_and_says_the_same(output: Callable[[logging.Formatter], io.StringIO]) -> None:
    stream = output(TextFormatter())
    with log_context(job_id="job_1", attempt=2):
        logger.warning("it %s", "happened")
    assert stream.getvalue().endswith("WARNING impasto.tests: it happened [job_id=job_1 attempt=2]\n")


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()], ids=["json", "text"])
def test_no_key_password_or_signature_is_written(
    formatter: logging.Formatter, output: Callable[[logging.Formatter], io.StringIO], settings: Settings
) -> None:
    stream = output(formatter)
    token = mint("live").text
    url = ObjectStore(settings).download_url("a/picture.png", 60)
    signature = url.partition("X-Amz-Signature=")[2].partition("&")[0]
    secrets = [token, signature, "hunter2", "whsec_aGVsbG8", "opaque-token"]
    texts = [
        token,
        url,
        "postgresql://ann:hunter2@host/db",
        "whsec_aGVsbG8=",
        "Authorization: Bearer opaque-token",
    ]
    for text in texts:
        logger.warning("got %s", text)
        try:
            raise ValueError(text)
        except ValueError:
            logger.exception("it")
    written = stream.getvalue()
    assert signature
    assert [secret for secret in secrets if secret in written] == []
    assert "postgresql://" in written, "the rest of it stays"
    assert "a/picture.png" in written


def test_every_process_logs_json_and_a_request_can_be_followed(start: Start, tenant: Tenant) -> None:
    api, worker = start("api"), start("worker")
    url = base_url(api)
    job_id = paint(url, tenant)
    missing = httpx.get(f"{url}/v1/jobs/job_{'0' * 26}", headers=tenant.headers)
    request_id = missing.headers["x-request-id"]
    eventually(lambda: request_id in api.log.read_text(), "the request was not logged")
    records = api.records()
    assert {"uvicorn.error", "impasto_api.requests"} <= {record["logger"] for record in records}
    [line] = [r for r in records if r.get("request_id") == request_id]
    assert line["message"] == "GET /v1/jobs/{job_id} 404"
    assert (line["route"], line["status"]) == ("/v1/jobs/{job_id}", 404)
    assert line["organization_id"].startswith("org_")
    [created] = [r for r in records if r["message"] == "POST /v1/jobs 202"]
    assert created["job_id"] == job_id
    eventually(lambda: "the attempt ended" in worker.log.read_text(), "the end was not logged")
    ended = [r for r in worker.records() if r.get("job_id") == job_id]
    assert [(r["message"], r["attempt"]) for r in ended] == [("the attempt ended: succeeded", 1)]
    assert ended[0]["organization_id"] == line["organization_id"]
    for program in (api, worker):
        assert PROMPT not in program.log.read_text()


def test_probes_are_not_worth_a_line(start: Start, tenant: Tenant) -> None:
    api = start("api")
    base_url(api)
    assert not [record for record in api.records() if record.get("route") == "/readyz"]


def test_text_is_a_setting(start: Start, tenant: Tenant) -> None:
    sweeper = start("sweeper", IMPASTO_LOG_FORMAT="text")
    line = "INFO impasto_workers.leadership: this sweeper leads\n"
    eventually(lambda: line in sweeper.log.read_text(), "it did not lead")
