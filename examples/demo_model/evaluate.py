"""Asks the demo model for what it never saw and reads the pictures back.

    python examples/demo_model/evaluate.py                    # prints accuracies, writes docs/demo-model.png
    python examples/demo_model/evaluate.py --guidance 7.5 --number 100 --sheet ""

Every picture is painted by the platform's own worker runtime from the graph that its text-to-image pipeline
builds. The prompts name combinations of colour, background and shape that no training picture had. The same
scenes are also read as the drawing code draws them, which shows what the reader itself gets right.
"""

import argparse
import io
import random
import statistics
import tempfile
import textwrap
from pathlib import Path
from uuid import UUID

from classify import NAMES, Reading, read
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm
from world import PALETTE, Scene, draw_mask, paint, prompt_for, random_scene

from impasto_core.models.service import folder_digest
from impasto_core.models.tables import Model
from impasto_core.pipelines import TEXT_TO_IMAGE, TextToImageInput
from impasto_demo_model import IMPASTO_SHAPES, model_folder
from impasto_workers.runtime import open_runtime

REPOSITORY = Path(__file__).resolve().parents[2]
ASPECTS = ("colour", "background", "shape", "count")
ASKED_FOR_IN_THE_SHEET = (
    "two small yellow stars on a black background",
    "a big red heart, left",
    "three blue circles on white",
    "a huge green ring on a pink background",
    "on orange, a tiny purple cross at the top",
    "a portrait of a cat in the rain, masterpiece",
)


class Painter:
    """The worker's runtime with the model in it."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.model = Model(
            id=UUID(int=6),
            slug=IMPASTO_SHAPES.slug,
            name=IMPASTO_SHAPES.name,
            base=IMPASTO_SHAPES.base,
            source=folder.resolve().as_uri(),
            digest=folder_digest(folder),
            default_width=IMPASTO_SHAPES.default_width,
            default_height=IMPASTO_SHAPES.default_height,
            max_pixels=IMPASTO_SHAPES.max_pixels,
        )
        self.runtime = open_runtime(scratch)
        self.runtime.register_model(str(self.model.id), self.model.name, folder)
        self.seconds: list[float] = []

    def paint(self, prompt: str, **options: object) -> Image.Image:
        """One picture. `options` are further fields of the pipeline's input."""
        request = TextToImageInput.model_validate({"prompt": prompt, **options}).resolve(self.model)
        result = self.runtime.run(TEXT_TO_IMAGE.build(request, self.model))
        if result.error is not None:
            raise RuntimeError(result.error.traceback)
        self.seconds.append(result.seconds)
        return Image.open(io.BytesIO(result.images[0].png)).convert("RGB")


def drawn(scene: Scene, rng: random.Random) -> Image.Image:
    colour, background = (PALETTE[NAMES.index(name)] for name in (scene.colour, scene.background))
    return Image.fromarray(paint(draw_mask(scene, rng), colour, background))


def agreement(scenes: list[Scene], readings: list[Reading]) -> dict[str, float]:
    """The share of pictures, 0 to 1, that show what was asked: per aspect, and in all four at once."""
    right = [
        [getattr(scene, aspect) == getattr(seen, aspect) for aspect in ASPECTS]
        for scene, seen in zip(scenes, readings, strict=True)
    ]
    shares = {aspect: sum(row[i] for row in right) / len(right) for i, aspect in enumerate(ASPECTS)}
    return shares | {"all four": sum(all(row) for row in right) / len(right)}


def contact_sheet(pictures: list[tuple[str, Image.Image]], columns: int = 3) -> Image.Image:
    """Pictures with their prompts beside them, in few enough colours for a small file."""
    side, text, gap = 96, 168, 8
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (side + text + 2 * gap) + gap, rows * (side + gap) + gap), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for index, (prompt, picture) in enumerate(pictures):
        x = gap + index % columns * (side + text + 2 * gap)
        y = gap + index // columns * (side + gap)
        small = picture.resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(small, (x, y))
        pen.rectangle((x, y, x + side - 1, y + side - 1), outline="#ccc")
        pen.multiline_text((x + side + gap, y), textwrap.fill(prompt, 24), fill="#222", font=font)
    return sheet.quantize(192)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", type=Path, default=None, help="a folder; default: the installed demo model"
    )
    parser.add_argument("--number", type=int, default=200, help="of held-out prompts")
    parser.add_argument("--steps", type=int, default=IMPASTO_SHAPES.default_steps)
    parser.add_argument("--guidance", type=float, default=IMPASTO_SHAPES.default_guidance)
    parser.add_argument("--scheduler", default=IMPASTO_SHAPES.default_scheduler)
    parser.add_argument("--side", type=int, default=IMPASTO_SHAPES.default_width, help="pixels")
    parser.add_argument("--sheet", default=str(REPOSITORY / "docs/demo-model.png"), help='"" for none')
    chosen = parser.parse_args()
    options = {
        "steps": chosen.steps,
        "guidance": chosen.guidance,
        "scheduler": chosen.scheduler,
        "width": chosen.side,
        "height": chosen.side,
    }

    rng = random.Random("evaluation")  # noqa: S311
    scenes = [random_scene(rng, held_out=True) for _ in range(chosen.number)]
    prompts = [prompt_for(scene, rng, complete=True)[0] for scene in scenes]
    with tempfile.TemporaryDirectory() as scratch:
        painter = Painter(chosen.model or model_folder(), Path(scratch))
        painter.paint(prompts[0], seed=0, **options)  # the first loads the model
        painter.seconds.clear()
        pictures = [
            painter.paint(prompt, seed=seed, **options)
            for seed, prompt in enumerate(tqdm(prompts, desc="painting", mininterval=5))
        ]
        again = painter.paint(prompts[0], seed=0, **options)
        asked = [(prompt, painter.paint(prompt, seed=1, **options)) for prompt in ASKED_FOR_IN_THE_SHEET]

    painted = agreement(scenes, [read(picture) for picture in pictures])
    ceiling = agreement(scenes, [read(drawn(scene, rng)) for scene in scenes])
    print(
        f"\n{chosen.number} held-out prompts, {chosen.side} px, {chosen.steps} steps of {chosen.scheduler},",
        end=" ",
    )
    print(f"guidance {chosen.guidance:g}; median {statistics.median(painter.seconds):.2f} s a picture")
    print(f"{'':12}{'painted':>9}{'drawn':>9}")
    for aspect, share in painted.items():
        print(f"{aspect:12}{share:9.1%}{ceiling[aspect]:9.1%}")
    print("same seed, same picture:", again.tobytes() == pictures[0].tobytes())
    if chosen.sheet:
        contact_sheet(asked + list(zip(prompts, pictures, strict=True))[:18]).save(
            chosen.sheet, optimize=True
        )
        print(f"contact sheet: {chosen.sheet}")


if __name__ == "__main__":
    main()
