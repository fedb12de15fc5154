"""image-to-image: a picture is painted anew after a prompt."""

from __future__ import annotations

import math
from typing import Self

from pydantic import Field

from impasto_core.models.tables import Model
from impasto_core.pipelines.base import InvalidInput, Pipeline, PipelineInput, stable_diffusion_graph
from impasto_core.pipelines.graph import Graph, GraphBuilder, Output


class ImageToImageInput(PipelineInput):
    """A prompt, a picture to start from, and how far to go from it."""

    init_image: str = Field(
        max_length=64,
        pattern="^(upl|img)_[0-9a-z]{26}$",
        description="Id of an upload or of an earlier image. It is resized to width x height;"
        " where these are null, they are its own, made to fit the model.",
        examples=["upl_01jcp0f85v6zg8yq0gs8zfwdq4"],
    )
    strength: float = Field(
        default=0.6,
        ge=0.05,
        le=1,
        description="From 0.05, nearly the picture as it was, to 1, nearly nothing left of it.",
    )

    def resolve(self, model: Model, *, init_size: tuple[int, int] | None = None) -> Self:
        # InvokeAI cuts the first part of the schedule off; with no step left it has nothing to do.
        steps = self.steps or model.default_steps
        if steps * self.strength < 1:
            raise InvalidInput(
                "strength",
                "too_low",
                f"With {steps} steps, strength must be at least {math.ceil(100 / steps) / 100}.",
            )
        return super().resolve(model, init_size=init_size)

    def images(self) -> dict[str, str]:
        return {"init_image": self.init_image}

    def denoising_steps(self) -> int:
        return math.ceil(super().denoising_steps() * self.strength)


def build(request: ImageToImageInput, model: Model) -> Graph:
    def encode(graph: GraphBuilder) -> Output:
        graph.add(
            "resize",
            "img_resize",
            image={"image_name": request.init_image},
            width=request.width,
            height=request.height,
            resample_mode="lanczos",
        )
        graph.add("encode", "i2l", image=("resize", "image"), vae=("model", "vae"))
        return ("encode", "latents")

    return stable_diffusion_graph(
        request, model, mode="img2img", denoising_start=1 - request.strength, start_from=encode
    )


IMAGE_TO_IMAGE = Pipeline(
    id="image-to-image",
    title="Image to image",
    description="Paints a picture anew, guided by a prompt.",
    input_type=ImageToImageInput,
    build=build,
)
