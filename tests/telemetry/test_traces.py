"""One trace leads from the caller through API, queue and worker to the picture."""

from __future__ import annotations

import secrets

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from tests.attempts.brush import STEPS
from tests.support.collector import Collector, Span
from tests.support.processes import eventually
from tests.support.tenants import Tenant
from tests.telemetry.conftest import PROMPT, Start, base_url, paint

TRACED = {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_METRIC_EXPORT_INTERVAL": "100"}


@pytest.fixture
def traced(collector: Collector) -> dict[str, str]:
    return TRACED | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}


def callers_span() -> SpanContext:
    """Of a program that traces, and calls us."""
    sampled = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(int(secrets.token_hex(16), 16), int(secrets.token_hex(8), 16), False, sampled)


def named(spans: list[Span], name: str) -> Span:
    [span] = [span for span in spans if span.name == name]
    return span


def test_one_trace_leads_from_the_sdks_call_to_the_upload(
    start: Start, collector: Collector, traced: dict[str, str], tenant: Tenant
) -> None:
    api, worker = start("api", **traced), start("worker", **traced)
    url = base_url(api)
    caller = callers_span()
    trace_id = f"{caller.trace_id:032x}"
    with trace.use_span(NonRecordingSpan(caller)):
        job_id = paint(url, tenant)

    def has_come() -> bool:
        names = {span.name for span in collector.spans(trace_id)}
        return {"attempt", "POST /v1/jobs"} <= names

    eventually(has_come, "the trace is not whole")
    spans = collector.spans(trace_id)
    request, attempt = named(spans, "POST /v1/jobs"), named(spans, "attempt")
    assert (request.service, request.parent) == ("impasto-api", f"{caller.span_id:016x}")
    assert request.attributes["http.route"] == "/v1/jobs"
    assert request.attributes["http.response.status_code"] == 202
    create = named(spans, "jobs.create")
    assert create.parent == request.id
    assert named(spans, "wake-up").parent == create.id

    assert (attempt.service, attempt.parent) == ("impasto-worker", create.id)
    assert attempt.attributes["impasto.job.id"] == job_id
    assert attempt.attributes["impasto.outcome"] == "succeeded"
    stages = [span.name for span in spans if span.parent == attempt.id]
    assert stages == ["claim", "model", "inputs", "graph", "encode", "upload", "settle"]
    node = named(spans, "node denoise_latents")
    assert node.parent == named(spans, "graph").id
    assert [name for name, _ in node.events] == ["step"] * STEPS
    assert node.events[-1][1] == {"impasto.step": STEPS, "impasto.steps": STEPS}
    uploads = [span for span in spans if span.name == "S3 PutObject"]
    assert {span.parent for span in uploads} == {named(spans, "upload").id}
    assert {span.attributes["aws.s3.key"].rpartition(".")[2] for span in uploads} == {"png", "webp"}

    for program in (api, worker):
        records = [record for record in program.records() if record.get("trace_id") == trace_id]
        assert {record["job_id"] for record in records if "job_id" in record} == {job_id}

    eventually(lambda: "impasto.job.attempts" in collector.metrics(), "no metrics came")
    assert {"http.server.request.duration", "impasto.jobs.created"} <= collector.metrics()
    told = collector.said() + api.log.read_bytes() + worker.log.read_bytes()
    for secret in (PROMPT, tenant.api_key, "X-Amz-Signature"):
        assert secret.encode() not in told


def test_a_job_belongs_to_its_callers_trace_though_the_api_does_not_trace(
    start: Start, collector: Collector, traced: dict[str, str], tenant: Tenant
) -> None:
    api, _ = start("api"), start("worker", **traced)
    url = base_url(api)
    caller = callers_span()
    with trace.use_span(NonRecordingSpan(caller)):
        paint(url, tenant)
    trace_id = f"{caller.trace_id:032x}"
    eventually(
        lambda: "attempt" in {span.name for span in collector.spans(trace_id)}, "the attempt is not told"
    )
    assert named(collector.spans(trace_id), "attempt").parent == f"{caller.span_id:016x}"


def test_a_failed_request_is_told_by_its_route_and_not_by_what_was_sent(
    start: Start, collector: Collector, traced: dict[str, str], tenant: Tenant
) -> None:
    url = base_url(start("api", **traced))
    caller = callers_span()
    trace_id, span_id = f"{caller.trace_id:032x}", f"{caller.span_id:016x}"
    headers = tenant.headers | {"traceparent": f"00-{trace_id}-{span_id}-01"}
    body = {"pipeline": "text-to-image", "input": {"prompt": PROMPT, "width": 63}}
    response = httpx.post(f"{url}/v1/jobs", json=body, headers=headers)
    assert response.status_code == 422
    missing = httpx.get(f"{url}/v1/jobs/job_{'0' * 26}", headers=headers)
    assert missing.status_code == 404
    eventually(lambda: len(collector.spans(trace_id)) == 2, "a span is missing")
    refused, not_found = collector.spans(trace_id)
    assert (refused.name, refused.attributes["http.response.status_code"]) == ("POST /v1/jobs", 422)
    assert not refused.failed, "a caller's mistake is no error of the server's"
    assert not_found.name == "GET /v1/jobs/{job_id}"
    assert not_found.attributes["impasto.request.id"] == missing.headers["x-request-id"]
    assert PROMPT.encode() not in collector.said()


@pytest.mark.parametrize("nonsense", ["", "00-0-0-01", "ff-" + "1" * 32 + "-" + "1" * 16 + "-01", "x" * 5000])
def test_a_traceparent_that_makes_no_sense_is_ignored(start: Start, tenant: Tenant, nonsense: str) -> None:
    url = base_url(start("api"))
    body = {"pipeline": "text-to-image", "input": {"prompt": PROMPT}}
    headers = tenant.headers | {"traceparent": nonsense}
    assert httpx.post(f"{url}/v1/jobs", json=body, headers=headers).status_code == 202


def test_a_collector_that_is_away_keeps_nobody_from_working_or_from_stopping(
    start: Start, tenant: Tenant
) -> None:
    away = TRACED | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    api, worker = start("api", **away), start("worker", **away)
    paint(base_url(api), tenant)
    for program in (api, worker):
        program.process.terminate()
    assert worker.wait(within=20) == 0
    api.wait(within=20)
