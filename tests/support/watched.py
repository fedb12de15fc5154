"""A program that traces and measures, as the platform's processes do; `python -m tests.support.watched`.

Prints its threads, and whether OpenTelemetry's SDK was loaded, for who wants to know what telemetry costs.
"""

from __future__ import annotations

import sys
import threading

from opentelemetry import metrics, trace
from pydantic import SecretStr

from impasto_core.settings import Settings
from impasto_core.telemetry import span, telemetry

if __name__ == "__main__":
    nowhere = SecretStr("nowhere")
    with telemetry(Settings(database_url=nowhere, redis_url=nowhere), "watched"):
        with span(trace.get_tracer("watched"), "work"):
            metrics.get_meter("watched").create_counter("watched.work").add(1)
        print(threading.active_count(), "opentelemetry.sdk" in sys.modules)  # noqa: T201
