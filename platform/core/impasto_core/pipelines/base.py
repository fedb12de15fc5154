"""What all pipelines share: the input fields of a Stable Diffusion run, and its graph."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from impasto_core.fields import Text
from impasto_core.jobs.work import Work
from impasto_core.models.tables import Model
from impasto_core.pipelines.graph import Graph, GraphBuilder, Output

MAX_SEED = 2**32 - 1
MIN_SIDE, MAX_SIDE = 64, 2048
MAX_STEPS = 100
MAX_LCM_STEPS = 50  # diffusers' LCMScheduler has no more
MAX_IMAGES = 4
MAX_PROMPT = 2000


class Scheduler(StrEnum):
    """Samplers by InvokeAI's names; `_k` has Karras sigmas, `_a` is ancestral."""

    DDIM = "ddim"
    DDPM = "ddpm"
    DEIS = "deis"
    DPMPP_2M = "dpmpp_2m"
    DPMPP_2M_K = "dpmpp_2m_k"
    DPMPP_2M_SDE = "dpmpp_2m_sde"
    DPMPP_SDE = "dpmpp_sde"
    EULER = "euler"
    EULER_K = "euler_k"
    EULER_A = "euler_a"
    HEUN = "heun"
    LCM = "lcm"
    LMS = "lms"
    PNDM = "pndm"
    UNIPC = "unipc"


class InvalidInput(ValueError):
    """A value that is well formed but cannot be used: `field` names it, `detail` says why."""

    def __init__(self, field: str, code: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field
        self.code = code
        self.detail = detail


Side = Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE, multiple_of=8)]


def fit(width: int, height: int, max_pixels: int) -> tuple[int, int]:
    """The largest size of about the same shape, in multiples of 8, that has at most `max_pixels`."""
    scale = min(1.0, math.sqrt(max_pixels / (width * height)), MAX_SIDE / max(width, height))

    def side(length: float) -> int:
        return max(MIN_SIDE, int(length + 1e-6) // 8 * 8)  # 511.9999 of a rounded product is 512

    # The short side of a strip cannot shrink below MIN_SIDE, so the long one must give way.
    short = side(min(width, height) * scale)
    long = side(min(max(width, height) * scale, max_pixels / short))
    return (short, long) if width < height else (long, short)


class PipelineInput(BaseModel):
    """The fields of every pipeline. `resolve` fills in what the caller left open."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, use_enum_values=True)

    prompt: Text = Field(
        min_length=1, max_length=MAX_PROMPT, examples=["a big red heart"], description="What to paint."
    )
    negative_prompt: Text = Field(default="", max_length=MAX_PROMPT, description="What to keep away from.")
    model: Text | None = Field(
        default=None, max_length=63, description="Id of a model; the platform's default where left out."
    )
    width: Side | None = Field(default=None, description="Pixels, a multiple of 8; the model's own if null.")
    height: Side | None = Field(default=None, description="Pixels, a multiple of 8; the model's own if null.")
    steps: int | None = Field(
        default=None, ge=1, le=MAX_STEPS, description="Denoising steps; the model's own if null."
    )
    guidance: float | None = Field(
        default=None,
        ge=1,
        le=30,
        description="How closely to follow the prompt (classifier-free guidance); the model's own if null.",
    )
    scheduler: Scheduler | None = Field(default=None, description="The sampler; the model's own if null.")
    seed: int | None = Field(
        default=None,
        ge=0,
        le=MAX_SEED,
        description="The same seed and input give the same picture. Chosen for you if null.",
    )
    n: int = Field(
        default=1, ge=1, le=MAX_IMAGES, description="Number of images; their seeds are seed, seed + 1, ..."
    )

    def resolve(self, model: Model, *, init_size: tuple[int, int] | None = None) -> Self:
        """The same input with model, size and seed settled. Raises InvalidInput beyond the model's limits.

        `init_size` is that of the picture to start from; where there is one, it is the default size.
        """
        steps, scheduler = self.steps or model.default_steps, self.scheduler or model.default_scheduler
        if scheduler == Scheduler.LCM and steps > MAX_LCM_STEPS:
            raise InvalidInput(
                "steps", "too_many", f"The scheduler lcm was trained for at most {MAX_LCM_STEPS} steps."
            )
        natural = fit(*init_size, model.max_pixels) if init_size else None
        width, height = natural or (model.default_width, model.default_height)
        width, height = self.width or width, self.height or height
        if width * height > model.max_pixels:
            raise InvalidInput(
                "width",
                "too_many_pixels",
                f"{width} x {height} is more than the {model.max_pixels} pixels that {model.slug} can paint.",
            )
        return self.model_copy(
            update={
                "model": model.slug,
                "width": width,
                "height": height,
                "steps": steps,
                "guidance": self.guidance or model.default_guidance,
                "scheduler": scheduler,
                "seed": secrets.randbelow(MAX_SEED + 1) if self.seed is None else self.seed,
            }
        )

    def images(self) -> dict[str, str]:
        """The images that the input refers to, by field."""
        return {}

    def work(self) -> Work:
        """What running it takes, once resolved."""
        width, height = self.size()
        return Work(width * height * self.denoising_steps() * self.n, self.n)

    def size(self) -> tuple[int, int]:
        """Width and height, once resolved."""
        return _known(self.width), _known(self.height)

    def denoising_steps(self) -> int:
        """Steps that run for each image, once resolved."""
        return _known(self.steps)


def _known(value: int | None) -> int:
    if value is None:
        raise ValueError("the input is not resolved")
    return value


InputT = TypeVar("InputT", bound=PipelineInput)


@dataclass(frozen=True)
class Pipeline(Generic[InputT]):
    """A way to make pictures. `build` takes resolved input and the model to run it on."""

    id: str
    title: str
    description: str
    input_type: type[InputT]
    build: Callable[[InputT, Model], Graph]


def seed_of(first: int, index: int) -> int:
    """The seed of image `index`. Seeds wrap, as InvokeAI's are 32 bits wide."""
    return (first + index) % (MAX_SEED + 1)


def stable_diffusion_graph(
    request: PipelineInput,
    model: Model,
    *,
    mode: str,
    denoising_start: float = 0.0,
    start_from: Callable[[GraphBuilder], Output] | None = None,
) -> Graph:
    """One loader and one pair of prompts for all images; noise, denoising and decoding for each.

    `start_from` adds the nodes that encode an initial picture and returns where its latents come from.
    """
    identifier = {
        "key": str(model.id),
        "hash": model.digest,
        "name": model.name,
        "base": model.base,
        "type": "main",
    }
    graph = GraphBuilder()
    graph.add("model", "main_model_loader", model=identifier)
    graph.add("positive", "compel", prompt=request.prompt, clip=("model", "clip"))
    graph.add("negative", "compel", prompt=request.negative_prompt, clip=("model", "clip"))
    latents: dict[str, Any] = {"latents": start_from(graph)} if start_from else {}
    for index in range(request.n):
        seed = seed_of(request.seed or 0, index)
        noise, denoise, metadata = f"noise_{index}", f"denoise_{index}", f"metadata_{index}"
        graph.add(noise, "noise", seed=seed, width=request.width, height=request.height, use_cpu=True)
        graph.add(
            denoise,
            "denoise_latents",
            steps=request.steps,
            cfg_scale=request.guidance,
            scheduler=request.scheduler,
            denoising_start=denoising_start,
            positive_conditioning=("positive", "conditioning"),
            negative_conditioning=("negative", "conditioning"),
            noise=(noise, "noise"),
            unet=("model", "unet"),
            **latents,
        )
        graph.add(
            metadata,
            "core_metadata",
            generation_mode=mode,
            positive_prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            width=request.width,
            height=request.height,
            seed=seed,
            steps=request.steps,
            cfg_scale=request.guidance,
            scheduler=request.scheduler,
            model=identifier,
        )
        graph.add(
            f"image_{index}",
            "l2i",
            is_intermediate=False,
            latents=(denoise, "latents"),
            vae=("model", "vae"),
            metadata=(metadata, "metadata"),
        )
    return graph.build()
