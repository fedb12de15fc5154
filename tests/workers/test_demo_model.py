"""The model that the repository carries paints what was asked, and its reader can be trusted to say so."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator
from importlib import import_module
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from impasto_core.models.tables import Model
from impasto_core.pipelines import IMAGE_TO_IMAGE, TEXT_TO_IMAGE, ImageToImageInput, TextToImageInput

if TYPE_CHECKING:
    from impasto_workers.runtime import RunResult
    from impasto_workers.runtime.runtime import Runtime

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lab(opened_runtime: Runtime) -> Iterator[SimpleNamespace]:
    """The modules of examples/demo_model, which import each other by their bare names.

    After the runtime: it has seen to it that diffusers can be imported.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "examples/demo_model"))
        yield SimpleNamespace(
            world=import_module("world"), read=import_module("classify").read, vae=import_module("vae")
        )


@pytest.fixture(scope="module")
def model(runtime: Runtime) -> Model:
    """The carried model, at the size that it was trained at."""
    folder = ROOT / "platform/demo_model/impasto_demo_model/impasto-shapes"
    side = 8 * json.loads((folder / "unet/config.json").read_text())["sample_size"]
    model = Model(
        slug="impasto-shapes",
        name="Impasto Shapes",
        base="sd-1",
        source="",
        digest="",
        default_width=side,
        default_height=side,
        default_steps=15,
        default_guidance=3.0,
    )
    runtime.register_model(str(model.id), model.name, folder)
    return model


def paint(runtime: Runtime, model: Model, **request: Any) -> Image.Image:
    resolved = TextToImageInput.model_validate({"seed": 1, **request}).resolve(model)
    return picture_of(runtime.run(TEXT_TO_IMAGE.build(resolved, model)))


def picture_of(result: RunResult) -> Image.Image:
    assert result.error is None, result.error.traceback
    return Image.open(io.BytesIO(result.images[0].png))


def drawing(world: Any, scene: Any, rng: random.Random) -> Image.Image:
    colour, background = (
        world.PALETTE[list(world.COLOURS).index(name)] for name in (scene.colour, scene.background)
    )
    return Image.fromarray(world.paint(world.draw_mask(scene, rng), colour, background))


def test_the_reader_reads_every_kind_of_drawing(lab: SimpleNamespace) -> None:
    rng = random.Random(1)
    kinds = product(lab.world.SHAPES, lab.world.SIZES, lab.world.COUNTS, lab.world.POSITIONS)
    for shape, size, count, position in kinds:
        colour, background = rng.sample(list(lab.world.COLOURS), 2)
        scene = lab.world.Scene(shape, colour, background, size, count, position)
        seen = lab.read(drawing(lab.world, scene, rng))
        assert (seen.shape, seen.colour, seen.background, seen.count) == (shape, colour, background, count)


def test_the_reader_sees_nothing_on_a_flat_picture_or_in_a_speck(lab: SimpleNamespace) -> None:
    picture = Image.new("RGB", (128, 128), lab.world.COLOURS["green"])
    picture.paste(lab.world.COLOURS["red"], (60, 60, 64, 64))
    seen = lab.read(picture)
    assert (seen.shape, seen.colour, seen.background, seen.count) == (None, None, "green", 0)


def test_the_reader_names_no_shape_that_is_not_there(lab: SimpleNamespace) -> None:
    picture = Image.new("RGB", (128, 128), lab.world.COLOURS["white"])
    for step in range(8):  # a comb
        picture.paste(lab.world.COLOURS["blue"], (16 + 12 * step, 30, 20 + 12 * step, 100))
    picture.paste(lab.world.COLOURS["blue"], (16, 96, 104, 100))
    seen = lab.read(picture)
    assert (seen.shape, seen.colour, seen.count) == (None, "blue", 1)


def test_training_never_draws_what_is_held_out_and_still_meets_every_word(lab: SimpleNamespace) -> None:
    rng = random.Random(2)
    trained = {lab.world.random_scene(rng).triple for _ in range(5_000)}
    asked = {lab.world.random_scene(rng, held_out=True).triple for _ in range(2_000)}
    assert asked == lab.world.HELD_OUT
    assert not trained & asked
    for place, words in enumerate((lab.world.COLOURS, lab.world.COLOURS, lab.world.SHAPES)):
        assert {triple[place] for triple in trained} == set(words)


def test_a_complete_prompt_says_what_is_asked_of_the_picture(lab: SimpleNamespace) -> None:
    rng = random.Random(3)
    for _ in range(200):
        scene = lab.world.random_scene(rng)
        prompt, said = lab.world.prompt_for(scene, rng, complete=True)
        assert {"colour", "background", "shape", "count"} <= said.keys()
        for colour in (scene.colour, scene.background):
            assert any(word in prompt for word in lab.world.COLOUR_WORDS.get(colour, (colour,)))


def test_an_untrained_vae_already_keeps_a_pictures_mean_colours(lab: SimpleNamespace) -> None:
    torch = import_module("torch")
    scene = lab.world.Scene("heart", "red", "white", "large", 1, "center")
    picture = drawing(lab.world, scene, random.Random(4))
    pixels = torch.tensor(list(picture.tobytes()), dtype=torch.float).view(1, 128, 128, 3)
    pixels = pixels.permute(0, 3, 1, 2) / 127.5 - 1
    means = torch.nn.functional.avg_pool2d(pixels, 8)
    with torch.no_grad():
        latents = lab.vae.new().encode(pixels).latent_dist.mean[:, :3]
    assert torch.corrcoef(torch.stack([latents.flatten(), means.flatten()]))[0, 1] > 0.99


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        ("a big red heart on a white background", ("red", "white", "heart", 1)),
        ("three blue circles on white", ("blue", "white", "circle", 3)),
        ("a huge green ring on a pink background", ("green", "pink", "ring", 1)),
        ("on orange, a big purple square", ("purple", "orange", "square", 1)),
        ("two small yellow stars on a black background", ("yellow", "black", "star", 2)),
        ("a large turquoise triangle on brown", ("cyan", "brown", "triangle", 1)),
        ("a pair of white diamonds on red", ("white", "red", "diamond", 2)),
        ("one big orange plus on a grey background", ("orange", "gray", "cross", 1)),
    ],
)
def test_what_was_asked_for_is_painted(
    runtime: Runtime, model: Model, lab: SimpleNamespace, prompt: str, shown: tuple[str, str, str, int]
) -> None:
    seen = lab.read(paint(runtime, model, prompt=prompt))
    assert (seen.colour, seen.background, seen.shape, seen.count) == shown


@pytest.mark.parametrize(
    "prompt",
    [
        "an oil painting of the harbour of Antibes at dusk",
        "\u4e00\u5339\u5954\u8dd1\u7684\u767d\u9a6c \U0001f40e",
        ", ".join(["a small heart"] * 60),
    ],
    ids=["other things", "another script", "far too long"],
)
def test_a_prompt_from_outside_its_world_gives_some_picture(
    runtime: Runtime, model: Model, prompt: str
) -> None:
    darkest, lightest = paint(runtime, model, prompt=prompt).convert("L").getextrema()
    assert lightest - darkest > 50


def test_a_negative_prompt_and_a_picture_to_start_from_are_heeded(
    runtime: Runtime, model: Model, lab: SimpleNamespace
) -> None:
    heart = paint(runtime, model, prompt="a big red heart", negative_prompt="white background")
    assert lab.read(heart).background != "white"

    name = "upl_01jcp0f85v6zg8yq0gs8zfwdq4"
    scene = lab.world.Scene("circle", "red", "white", "large", 1, "center")
    circle = io.BytesIO()
    drawing(lab.world, scene, random.Random(5)).save(circle, "PNG")
    star = {"prompt": "a big red star on a white background", "seed": 1, "init_image": name, "strength": 0.7}
    again = ImageToImageInput.model_validate(star).resolve(model, init_size=(128, 128))
    result = runtime.run(IMAGE_TO_IMAGE.build(again, model), images={name: circle.getvalue()})
    seen = lab.read(picture_of(result))
    assert (seen.colour, seen.background, seen.shape, seen.count) == ("red", "white", "star", 1)
