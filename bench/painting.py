"""What a picture costs on the whole platform, beside InvokeAI's own server and beside diffusers alone."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from bench.diffusers_process import diffusers_pipeline
from bench.installation import TINY, Platform
from bench.interleave import p50, take_turns
from bench.rows import Row
from bench.stock import stock_invokeai
from impasto_core.pipelines import TextToImageInput

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
        for _ in range(BATCH - 1):
            _create(client, small, next(seeds))
        # One worker and one organization: the last job in is the last one out.
        _paint(client, small, next(seeds))
        return (time.perf_counter() - started) / BATCH

    with stock_invokeai(platform.worker_python, platform.folder / "stock", platform.model_folder) as stock:

        def theirs() -> float:
            request = TextToImageInput.model_validate({**small, "seed": 0})
            return stock.run(request, [next(seeds) for _ in range(BATCH)]) / BATCH

        times = take_turns("jobs a second", {"ours": ours, "stock": theirs}, rounds=6)
    ours_s, stock_s = p50(times["ours"]), p50(times["stock"])
    return Row(
        "finished jobs a second, warm, one worker, tiny SD-1, 64 px, 8 steps",
        "stock `invokeai-web` 6.14.2, same graph and weights, its own queue",
        stock_s / ours_s,
        5,
        more_is_better=True,
        detail=f"{1 / ours_s:.3g}/s and {1 / stock_s:.3g}/s",
    )


def _against_diffusers(platform: Platform, client: httpx.Client, seeds: Iterator[int]) -> Row:
    large = _input(size=256, steps=30)

    def ours() -> float:
        job = _paint(client, large, next(seeds))
        return float(job["queued_seconds"] + job["running_seconds"])

    with diffusers_pipeline(
        platform.worker_python, platform.model_folder, size=256, steps=30, guidance=GUIDANCE
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
    return {**fixed, "width": size, "height": size, "steps": steps, "model": TINY}


def _create(
    client: httpx.Client, input_: dict[str, Any], seed: int, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    body = {"pipeline": "text-to-image", "input": {**input_, "seed": seed}}
    job: dict[str, Any] = client.post("/v1/jobs", json=body, headers=headers).raise_for_status().json()
    return job


def _paint(client: httpx.Client, input_: dict[str, Any], seed: int) -> dict[str, Any]:
    """Make a job and wait for its end, without asking again and again."""
    job = _create(client, input_, seed, {"Prefer": "wait=60"})
    if job["status"] != "succeeded":
        raise RuntimeError(f"{job['id']} {job['status']}: {job['error']}")
    return job
