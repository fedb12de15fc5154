"""Pipelines: typed input in, an InvokeAI graph out. `PIPELINES` has all of them by id."""

from typing import Any

from impasto_core.pipelines.base import InvalidInput, Pipeline, PipelineInput
from impasto_core.pipelines.image_to_image import IMAGE_TO_IMAGE, ImageToImageInput
from impasto_core.pipelines.text_to_image import TEXT_TO_IMAGE, TextToImageInput

__all__ = [
    "IMAGE_TO_IMAGE",
    "PIPELINES",
    "TEXT_TO_IMAGE",
    "ImageToImageInput",
    "InvalidInput",
    "Pipeline",
    "PipelineInput",
    "TextToImageInput",
]

PIPELINES: dict[str, Pipeline[Any]] = {pipeline.id: pipeline for pipeline in (TEXT_TO_IMAGE, IMAGE_TO_IMAGE)}
