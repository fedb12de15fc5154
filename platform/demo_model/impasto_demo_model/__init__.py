"""The demo model `impasto-shapes`: a Stable Diffusion 1 folder of 15 MB that paints flat shapes.

Only data and where it lies: nothing here imports torch.
"""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

__all__ = ["IMPASTO_SHAPES", "DemoModel", "model_folder"]


@dataclass(frozen=True, slots=True)
class DemoModel:
    """What a registry of models needs to know of this one. Sides are in pixels."""

    slug: str
    name: str
    description: str
    base: str
    default_width: int
    default_height: int
    default_steps: int
    default_guidance: float
    default_scheduler: str
    max_pixels: int


IMPASTO_SHAPES: Final = DemoModel(
    slug="impasto-shapes",
    name="Impasto Shapes",
    description="Paints one to three flat shapes in twelve colours. Trained from nothing, for demos.",
    base="sd-1",
    default_width=128,
    default_height=128,
    default_steps=15,
    default_guidance=3.0,
    default_scheduler="euler",
    max_pixels=256 * 256,
)


def model_folder() -> Path:
    """The folder, in diffusers' layout. Raises FileNotFoundError where the weights are missing."""
    folder = Path(str(files(__name__))) / IMPASTO_SHAPES.slug
    if not (folder / "model_index.json").is_file():
        raise FileNotFoundError(f"the demo model's weights are missing from {folder}")
    return folder
