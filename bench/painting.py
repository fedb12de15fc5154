"""What a picture costs on the whole platform, beside InvokeAI's own server and beside diffusers alone."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from bench.diffusers_process import diffusers_pipeline
from bench.installation import Platform
from bench.interleave import p50, take_turns
from bench.rows import Row
from bench.stock import stock_invokeai
from impasto_core.pipelines import TextToImageInput
from impasto_demo_model import model_folder

PROMPT = "a big red heart on a white background"
GUIDANCE = 3.0
BATCH = 20
"""Jobs in the queue at once: enough that a worker never waits for the client."""


def rows(platform: Platform) -> Iterator[Row]:
    seeds = itertools.count(1)
    with platform.client() as client:
        yield _against_stock(platform, client, seeds)
        yield _against_diffusers(platform, client, seeds)


def _against_stock(platform: Platform, client: httpx.Client, seeds: Iterator[int]) -> Row:
    small = _input(size=64, steps=8)

    def ours() -> float:
        started = time.perf_counter()
        jobs = [_create(client, small, next(seeds))["id"] for _ in range(BATCH)]
        # One worker and one organization: the last job in is the last one out.
        _wait(client, jobs[-1])
        return (time.perf_counter() - started) / BATCH

    with stock_invokeai(platform.worker_python, platform.folder / "stock", model_folder()) as stock:

        def theirs() -> float:
            request = TextToImageInput.model_validate({**small, "seed": 0})
            return stock.run(request, [next(seeds) for _ in range(BATCH)]) / BATCH

        times = take_turns("jobs a second", {"ours": ours, "stock": theirs}, rounds=6)
    ours_s, stock_s = p50(times["ours"]), p50(times["stock"])
    return Row(
        "finished jobs a second, warm, one worker, 64 px, 8 steps",
        "stock `invokeai-web` 6.14.2, same graph and weights, its own queue",
        stock_s / ours_s,
        5,
        more_is_better=True,
        detail=f"{1 / ours_s:.3g}/s and {1 / stock_s:.3g}/s",
    )


def _against_diffusers(platform: Platform, client: httpx.Client, seeds: Iterator[int]) -> Row:
    large = _input(size=256, steps=30)

    def ours() -> float:
        job = _wait(client, _create(client, large, next(seeds))["id"])
        return float(job["queued_seconds"] + job["running_seconds"])

    with diffusers_pipeline(
        platform.worker_python, model_folder(), size=256, steps=30, guidance=GUIDANCE
    ) as paint:
        sides: dict[str, Callable[[], float]] = {"ours": ours, "diffusers": lambda: paint(next(seeds))}
        times = take_turns("a large job", sides, rounds=8)
    ours_s, theirs_s = p50(times["ours"]), p50(times["diffusers"])
    return Row(
        "wall time of a job, 256 px, 30 steps, queued to settled",
        "`StableDiffusionPipeline` on the same weights",
        ours_s / theirs_s,
        1.10,
        detail=f"{ours_s:.3g} s and {theirs_s:.3g} s",
    )


def _input(*, size: int, steps: int) -> dict[str, Any]:
    fixed = {"prompt": PROMPT, "guidance": GUIDANCE, "scheduler": "euler"}
    return {**fixed, "width": size, "height": size, "steps": steps}


def _create(client: httpx.Client, input_: dict[str, Any], seed: int) -> dict[str, Any]:
    response = client.post("/v1/jobs", json={"pipeline": "text-to-image", "input": {**input_, "seed": seed}})
    response.raise_for_status()
    job: dict[str, Any] = response.json()
    return job


def _wait(client: httpx.Client, job_id: str) -> dict[str, Any]:
    while True:
        job: dict[str, Any] = client.get(f"/v1/jobs/{job_id}").raise_for_status().json()
        if job["status"] == "succeeded":
            return job
        if job["finished_at"]:
            raise RuntimeError(f"{job_id} {job['status']}: {job['error']}")
        time.sleep(0.01)
