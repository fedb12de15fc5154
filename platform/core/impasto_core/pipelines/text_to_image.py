"""text-to-image: a prompt becomes a picture."""

from __future__ import annotations

from impasto_core.models.tables import Model
from impasto_core.pipelines.base import Pipeline, PipelineInput, stable_diffusion_graph
from impasto_core.pipelines.graph import Graph


class TextToImageInput(PipelineInput):
    """A prompt and how to paint it."""


def build(request: TextToImageInput, model: Model) -> Graph:
    return stable_diffusion_graph(request, model, mode="txt2img")


TEXT_TO_IMAGE = Pipeline(
    id="text-to-image",
    title="Text to image",
    description="Paints a picture of a prompt.",
    input_type=TextToImageInput,
    build=build,
)
