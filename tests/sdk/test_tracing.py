"""A caller's OpenTelemetry trace goes on in the API."""

from __future__ import annotations

import subprocess
import sys

from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from tests.sdk import samples
from tests.sdk.conftest import Sdk
from tests.sdk.scripted_server import ScriptedServer, answer


async def test_a_request_names_the_span_that_it_is_made_in(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(answer(200, samples.job()))
    span = NonRecordingSpan(SpanContext(0xABC, 0xDEF, False, TraceFlags(TraceFlags.SAMPLED)))
    with trace.use_span(span):
        await sdk(lambda client: client.jobs.get("job_1"))
    assert server.received[0].headers["traceparent"] == f"00-{0xABC:032x}-{0xDEF:016x}-01"


async def test_without_a_span_there_is_nothing_to_say(sdk: Sdk, server: ScriptedServer) -> None:
    server.will(answer(200, samples.job()))
    await sdk(lambda client: client.jobs.get("job_1"))
    assert "traceparent" not in server.received[0].headers


def test_opentelemetry_is_not_imported_for_it() -> None:
    script = "import sys, impasto; impasto.Impasto('key').jobs; assert 'opentelemetry' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)  # noqa: S603
