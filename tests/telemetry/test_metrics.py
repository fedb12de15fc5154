"""What Prometheus gets, and that the dashboard and the alerts ask for nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support.processes import eventually
from tests.support.tenants import Tenant
from tests.telemetry.conftest import Start, base_url, paint, scrape

OBSERVABILITY = Path(__file__).parents[2] / "infra" / "observability"
PROMQL = {"by", "count", "group_left", "histogram_quantile", "increase", "max", "on", "rate", "scalar", "sum"}
PROMQL |= {"instance", "job"}
"""What an expression is made of beside our names. The last two are labels that Prometheus adds."""

MEASURED = {"IMPASTO_METRICS_PORT": "0"}


def value(text: str, metric: str, **labels: str) -> float:
    """The sum of the metric's samples that have these labels."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == metric and labels.items() <= sample.labels.items()
    )


def test_the_api_counts_requests_by_route_and_status(start: Start, tenant: Tenant) -> None:
    api = start("api", **MEASURED)
    url = base_url(api)
    for number in range(3):
        httpx.get(f"{url}/v1/jobs/job_{number:026}", headers=tenant.headers)
        httpx.request("PROPFIND", f"{url}/coffee/{number}")
    text = scrape(api)
    count = "http_server_request_duration_seconds_count"
    jobs = {"http_route": "/v1/jobs/{job_id}", "http_request_method": "GET"}
    assert value(text, count, http_response_status_code="404", **jobs) == 3
    assert value(text, count, http_response_status_code="404", http_request_method="_OTHER") == 3
    assert "coffee" not in text, "what callers make up is no label"
    assert "PROPFIND" not in text


def test_worker_and_sweeper_tell_of_jobs_stages_and_queue(start: Start, tenant: Tenant) -> None:
    api, sweeper = start("api", **MEASURED), start("sweeper", **MEASURED)
    url = base_url(api)
    body = {"pipeline": "text-to-image", "input": {"prompt": "a heart"}}
    for _ in range(2):
        assert httpx.post(f"{url}/v1/jobs", json=body, headers=tenant.headers).status_code == 202
    assert value(scrape(api), "impasto_jobs_created_total", pool="default", pipeline="text-to-image") == 2

    def depth() -> float:
        return value(scrape(sweeper), "impasto_queue_depth", pool="default")

    eventually(lambda: depth() == 2, "nobody waits")
    assert value(scrape(sweeper), "impasto_queue_oldest_wait_seconds", pool="default") > 0
    worker = start("worker", **MEASURED)
    ended = {"pool": "default", "pipeline": "text-to-image", "outcome": "succeeded"}
    eventually(lambda: value(scrape(worker), "impasto_job_attempts_total", **ended) == 2, "nobody paints")
    text = scrape(worker)
    for stage in ("claim", "model", "inputs", "graph", "encode", "upload", "settle"):
        assert value(text, "impasto_job_stage_duration_seconds_count", stage=stage) == 2
    assert value(text, "impasto_job_wait_seconds_count", pool="default") == 2
    assert value(text, "process_resident_memory_bytes") > 0
    eventually(lambda: depth() == 0, "somebody still waits")


def test_no_metric_has_anybodys_id_for_a_label(start: Start, tenant: Tenant) -> None:
    programs = [start(name, **MEASURED) for name in ("api", "worker", "sweeper")]
    paint(base_url(programs[0]), tenant)
    for program in programs:
        assert re.findall(r"\b(?:job|org|img|key|req)_[0-9a-z]{26}\b", scrape(program)) == []


def test_where_nobody_listens_nothing_is_loaded_and_no_thread_waits() -> None:
    assert watched() == "1 False"
    assert watched(**MEASURED) == "2 True", "the thread that serves"
    assert watched(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_SDK_DISABLED="true") == "1 False"


def watched(**environ: str) -> str:
    """What a program sees of its own telemetry."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("IMPASTO_", "OTEL_"))}
    command = [sys.executable, "-m", "tests.support.watched"]
    done = subprocess.run(command, env=ours | environ, capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout.strip()


def expressions() -> list[str]:
    """Every PromQL expression of the dashboard and of the alert rules."""
    dashboard = json.loads((OBSERVABILITY / "grafana-dashboard.json").read_text())
    alerts = yaml.safe_load((OBSERVABILITY / "prometheus-alerts.yaml").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]] + [
        rule["expr"] for group in alerts["groups"] for rule in group["rules"]
    ]


def test_dashboard_and_alerts_ask_only_for_metrics_and_labels_that_exist(
    start: Start, tenant: Tenant
) -> None:
    api, worker, sweeper = (start(name, **MEASURED) for name in ("api", "worker", "sweeper"))
    url = base_url(api)
    paint(url, tenant)
    eventually(lambda: "impasto_job_attempts_total" in scrape(worker), "the job was not counted")
    worker_text = scrape(worker)
    worker.close()
    body = {"pipeline": "text-to-image", "input": {"prompt": "a heart"}}
    httpx.post(f"{url}/v1/jobs", json=body, headers=tenant.headers)
    eventually(lambda: "impasto_queue_depth" in scrape(sweeper), "the job that waits is not told")

    samples = [
        sample
        for text in (scrape(api), worker_text, scrape(sweeper))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]
    known = {sample.name for sample in samples} | {label for sample in samples for label in sample.labels}
    for expression in expressions():
        names = set(re.findall(r"[a-z_]+", re.sub(r'"[^"]*"', "", re.sub(r"\[\d+m\]", "", expression))))
        assert names & known, expression
        assert names - known <= PROMQL, expression
