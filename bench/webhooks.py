"""How soon a job's end reaches its owner's server: from the transaction that ends it to the first attempt."""

from __future__ import annotations

import json
import queue
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bench.installation import TINY, Platform
from bench.interleave import p50, progress
from bench.rows import Row

JOBS = 100
WARM_UP = 5


def rows(platform: Platform) -> Iterator[Row]:
    waited: list[float] = []
    with _receiver() as (url, arrivals), platform.client() as client:
        endpoint = {"url": url, "events": ["job.succeeded"]}
        client.post("/v1/webhook-endpoints", json=endpoint).raise_for_status()
        for done in range(JOBS + WARM_UP):
            body = {
                "pipeline": "text-to-image",
                "input": {"prompt": "a heart", "model": TINY, "width": 64, "height": 64, "steps": 1},
            }
            client.post("/v1/jobs", json=body).raise_for_status()
            seconds = arrivals.get(timeout=60)
            if done >= WARM_UP:
                waited.append(seconds)
            progress("webhooks", done + 1, JOBS + WARM_UP)
            time.sleep(0.05)  # until everything is idle again
    percentiles = {"p50": p50(waited), "p99": statistics.quantiles(waited, n=100)[98]}
    for name, wanted in (("p50", 100), ("p99", 250)):
        yield Row(
            f"a job's end to the first attempt at its webhook, {name}",
            "nothing",
            percentiles[name] * 1000,
            wanted,
            "ms",
        )


@contextmanager
def _receiver() -> Iterator[tuple[str, queue.Queue[float]]]:
    """Its URL, and how many seconds each webhook came after the transaction began that ended its job."""
    arrivals: queue.Queue[float] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            arrived = time.time()
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            ended = datetime.fromisoformat(event["data"]["finished_at"])
            self.send_response(204)
            self.end_headers()
            arrivals.put(arrived - ended.timestamp())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", arrivals
    finally:
        server.shutdown()
        server.server_close()
