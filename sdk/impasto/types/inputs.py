"""What pipelines take. What is left out has the default that `pipelines.get(...)` states."""

from typing import Required, TypedDict


class TextToImage(TypedDict, total=False):
    prompt: Required[str]
    negative_prompt: str
    model: str | None
    width: int
    height: int
    steps: int
    guidance: float
    scheduler: str
    seed: int | None
    n: int


class ImageToImage(TextToImage, total=False):
    init_image: Required[str]
    """The id of an upload or of an image."""
    strength: float
