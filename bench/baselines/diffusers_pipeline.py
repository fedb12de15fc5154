"""diffusers' StableDiffusionPipeline on the same weights. Run by the worker's interpreter.

Reads seeds from standard input, a line each, and answers each with the seconds that its picture took.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from impasto_workers.runtime.environment import offline_and_quiet
from impasto_workers.runtime.torchvision_ops import declare_missing_operators


def main(model_folder: Path, size: int, steps: int, guidance: float) -> None:
    offline_and_quiet()
    declare_missing_operators()
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(
        model_folder, torch_dtype=torch.float32, safety_checker=None, requires_safety_checker=False
    )
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    print("ready", flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        pipeline(
            "a big red heart on a white background",
            width=size,
            height=size,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=torch.Generator().manual_seed(int(line)),
        )
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
