"""The baseline of the worker: diffusers' own pipeline, kept warm in a process of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_PROGRAM = Path(__file__).parent / "baselines" / "diffusers_pipeline.py"


@contextmanager
def diffusers_pipeline(
    worker_python: Path, model_folder: Path, *, size: int, steps: int, guidance: float
) -> Iterator[Callable[[int], float]]:
    """A function that paints one picture of a seed and returns the seconds that it took."""
    arguments = [worker_python, _PROGRAM, model_folder, size, steps, guidance]
    process = subprocess.Popen(  # noqa: S603
        [str(argument) for argument in arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    reading, writing = process.stdout, process.stdin
    assert reading is not None  # noqa: S101

    def paint(seed: int) -> float:
        print(seed, file=writing, flush=True)
        return float(reading.readline())

    try:
        if reading.readline().strip() != "ready":
            raise RuntimeError("the pipeline could not be loaded")
        yield paint
    finally:
        process.kill()
        process.communicate()
