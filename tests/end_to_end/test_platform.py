"""One platform that stays up: raw HTTP, the examples, and a worker that dies."""

from __future__ import annotations

import io
import json
import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from PIL import Image, ImageStat

from impasto import Impasto
from tests.end_to_end.conftest import Platform
from tests.support.collector import Collector
from tests.support.processes import eventually
from tests.support.workflows import FOLDER

LONG = {"prompt": "a slow picture", "steps": 100, "n": 2, "width": 128, "height": 128}


@pytest.fixture
def client(platform: Platform) -> Iterator[httpx.Client]:
    with platform.client() as client:
        yield client


def create(client: httpx.Client, job_input: dict[str, Any]) -> str:
    created = client.post("/v1/jobs", json={"pipeline": "text-to-image", "input": job_input})
    assert created.status_code == 202, created.text
    job_id: str = created.json()["id"]
    return job_id


def events(client: httpx.Client, job_id: str) -> Iterator[dict[str, Any]]:
    """The data of each event, until the stream ends."""
    with client.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


def test_plain_http_makes_a_job_follows_it_and_downloads_the_picture(client: httpx.Client) -> None:
    job_id = create(client, {"prompt": "a big red heart on a white background", "seed": 1})
    seen = list(events(client, job_id))
    assert [event["type"] for event in seen][:2] == ["queued", "started"]
    steps = [(event["step"], event["total"]) for event in seen if event["type"] == "step"]
    assert steps == [(step, 15) for step in range(1, 16)], "the model's own number of steps"
    final = seen[-1]
    assert final["type"] == "succeeded"
    image = final["job"]["images"][0]
    picture = Image.open(io.BytesIO(httpx.get(image["url"]).content))
    assert picture.size == (image["width"], image["height"])
    assert is_red(picture, 0.5, 0.4), "the heart"
    assert is_white(picture, 0.05, 0.95), "the background"
    thumbnail = Image.open(io.BytesIO(httpx.get(image["thumbnail_url"]).content))
    assert thumbnail.format == "WEBP"


def pixels(png: bytes) -> bytes:
    return Image.open(io.BytesIO(png)).convert("RGB").tobytes()


def test_every_example_runs(platform: Platform, tmp_path: Path) -> None:
    platform.run_example("quickstart.py", tmp_path)
    platform.run_example("async_batch.py", tmp_path)
    platform.run_example("image_to_image.py", tmp_path, "quickstart.png", "a small blue star")
    exported = str(FOLDER / "Text to Image - SD1.5.json")
    inputs = ("model=impasto-shapes", "positive_prompt=a big red heart", "width=64", "height=64")
    platform.run_example("workflow.py", tmp_path, exported, "heart", *inputs)


def test_a_graph_of_ones_own_paints_a_picture_for_each_of_its_seeds(platform: Platform) -> None:
    with Impasto(platform.api_key, base_url=platform.base_url) as client:
        drawn = client.images.generate("a big red heart on a white background", seed=1, steps=4)
        graph = client.jobs.graph(drawn.job.id).model_dump()
        graph["nodes"]["seeds"] = {"id": "seeds", "type": "integer_collection", "collection": [1, 2, 3]}
        graph["nodes"]["each"] = {"id": "each", "type": "iterate"}
        for source, field, destination, into in (
            ("seeds", "collection", "each", "collection"),
            ("each", "item", "noise_0", "seed"),
        ):
            ends = [{"node_id": source, "field": field}, {"node_id": destination, "field": into}]
            graph["edges"].append(dict(zip(("source", "destination"), ends, strict=True)))

        job = client.jobs.wait(client.jobs.create(graph=graph).id)

        assert [image.node for image in job.images] == ["image_0"] * 3
        first, *others = (image.bytes for image in job.images)
        assert pixels(first) == pixels(drawn[0].bytes), "the same seed, the same picture"
        assert pixels(first) not in [pixels(other) for other in others]


def test_one_trace_leads_from_the_sdks_call_through_invokeais_nodes_to_the_upload(
    platform: Platform, collector: Collector
) -> None:
    caller = SpanContext(secrets.randbits(128), secrets.randbits(64), False, TraceFlags(TraceFlags.SAMPLED))
    trace_id = f"{caller.trace_id:032x}"
    with (
        trace.use_span(NonRecordingSpan(caller)),
        Impasto(platform.api_key, base_url=platform.base_url) as client,
    ):
        client.images.generate("a big red heart", steps=4)

    def has_come() -> bool:
        return {"attempt", "POST /v1/jobs"} <= {span.name for span in collector.spans(trace_id)}

    eventually(has_come, "the trace is not whole")
    spans = {span.id: span for span in collector.spans(trace_id)}
    for span in spans.values():
        assert span.parent == f"{caller.span_id:016x}" or span.parent in spans
    [upload, _] = [span for span in spans.values() if span.name == "S3 PutObject"]
    path = []
    while upload is not None:
        path.append((upload.service, upload.name))
        upload = spans.get(upload.parent)
    assert path == [
        ("impasto-worker", "S3 PutObject"),
        ("impasto-worker", "upload"),
        ("impasto-worker", "attempt"),
        ("impasto-api", "jobs.create"),
        ("impasto-api", "POST /v1/jobs"),
    ]
    [graph] = [span.id for span in spans.values() if span.name == "graph"]
    nodes = [span.name for span in spans.values() if span.parent == graph]
    assert nodes[-3:] == ["node noise", "node denoise_latents", "node l2i"]


def test_a_running_job_is_canceled_in_the_middle_of_denoising(client: httpx.Client) -> None:
    job_id = create(client, LONG)
    for event in events(client, job_id):
        if event["type"] == "step" and event["step"] == 3:
            client.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
    assert event["type"] == "canceled"
    assert event["job"]["images"] == []


def test_a_job_whose_worker_is_killed_in_the_middle_is_painted_by_the_next(
    client: httpx.Client, platform: Platform
) -> None:
    job_id = create(client, LONG)
    killed = False
    for event in events(client, job_id):
        if event["type"] == "step" and not killed:
            os.kill(worker_pid(platform), signal.SIGKILL)
            killed = True
    assert event["type"] == "succeeded", event
    assert event["job"]["attempt"] == 2
    assert len(event["job"]["images"]) == 2


def is_red(picture: Image.Image, x: float, y: float) -> bool:
    red, green, blue = color_at(picture, x, y)
    return red > 150 and green < 100 and blue < 100


def is_white(picture: Image.Image, x: float, y: float) -> bool:
    return min(color_at(picture, x, y)) > 180


def color_at(picture: Image.Image, x: float, y: float) -> tuple[int, int, int]:
    """The mean color around a point, whose coordinates go from 0 to 1."""
    column, row = int(x * picture.width), int(y * picture.height)
    patch = picture.convert("RGB").crop((column - 2, row - 2, column + 3, row + 3))
    red, green, blue = (int(mean) for mean in ImageStat.Stat(patch).mean)
    return red, green, blue


def worker_pid(platform: Platform) -> int:
    """The process that runs the worker's module."""
    found = [pid for pid in platform.process.family() if b"impasto_workers.main" in command_line(pid)]
    assert len(found) == 1
    return found[0]


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def test_nothing_stays_queued(client: httpx.Client) -> None:
    """After all of the above, the queue is empty: no job was forgotten."""
    eventually(
        lambda: not client.get("/v1/jobs", params={"status": "queued"}).json()["data"],
        "a job is still queued",
        within=60,
    )
