"""How much work a job is: what the queue shares out and what prices are per."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """`pixel_steps` is pixels x denoising steps, over all `images`."""

    pixel_steps: int
    images: int
