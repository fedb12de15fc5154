"""Whatever the pipelines accept, InvokeAI paints."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from impasto_core.models.tables import Model
from impasto_core.pipelines import (
    IMAGE_TO_IMAGE,
    TEXT_TO_IMAGE,
    ImageToImageInput,
    InvalidInput,
    TextToImageInput,
)
from impasto_core.pipelines.base import MAX_LCM_STEPS, MAX_STEPS, Scheduler
from impasto_workers.runtime import RunResult

if TYPE_CHECKING:
    from impasto_workers.runtime.runtime import Runtime

NAME = "upl_01jcp0f85v6zg8yq0gs8zfwdq4"


@pytest.fixture(scope="module")
def model(runtime: Runtime, demo_model: Path) -> Model:
    model = Model(
        slug="tiny", name="Tiny", base="sd-1", source="", digest="", default_width=64, default_height=64
    )
    runtime.register_model(str(model.id), model.name, demo_model)
    return model


def text_to_image(runtime: Runtime, model: Model, **values: object) -> RunResult:
    request = TextToImageInput.model_validate({"prompt": "a heart", "seed": 7} | values).resolve(model)
    return runtime.run(TEXT_TO_IMAGE.build(request, model))


def image_to_image(runtime: Runtime, model: Model, mode: str = "RGB", **values: object) -> RunResult:
    values = {"prompt": "a heart", "seed": 7, "init_image": NAME, "width": 64, "height": 64} | values
    request = ImageToImageInput.model_validate(values).resolve(model)
    buffer = io.BytesIO()
    Image.new(mode, (100, 60), "blue").save(buffer, "PNG")
    return runtime.run(IMAGE_TO_IMAGE.build(request, model), images={NAME: buffer.getvalue()})


def assert_painted(result: RunResult, *sizes: tuple[int, int]) -> None:
    assert result.error is None, result.error.traceback
    assert [(image.width, image.height) for image in result.images] == list(sizes)


def most_steps(scheduler: Scheduler) -> int:
    return MAX_LCM_STEPS if scheduler is Scheduler.LCM else MAX_STEPS


@pytest.mark.parametrize("prompt", ["(" * 12, "((((((a))))))", "(" * 40 + ")" * 40])
def test_a_prompt_of_parentheses_does_not_hold_the_worker_up(
    runtime: Runtime, model: Model, prompt: str
) -> None:
    """Its grammar is exponential unless it remembers: twelve would take hours, and this test with them."""
    assert text_to_image(runtime, model, prompt=prompt, steps=1).status in ("succeeded", "failed")


@pytest.mark.parametrize("scheduler", list(Scheduler))
@pytest.mark.parametrize("steps", [1, 3])
def test_every_scheduler_paints(runtime: Runtime, model: Model, scheduler: Scheduler, steps: int) -> None:
    assert_painted(text_to_image(runtime, model, scheduler=scheduler, steps=steps), (64, 64))


@pytest.mark.parametrize("scheduler", list(Scheduler))
@pytest.mark.parametrize(("steps", "strength"), [(1, 1.0), (3, 0.34), (20, 0.05), (MAX_STEPS, 0.05)])
def test_every_scheduler_paints_a_picture_anew_however_little_of_it(
    runtime: Runtime, model: Model, scheduler: Scheduler, steps: int, strength: float
) -> None:
    steps = min(steps, most_steps(scheduler))
    result = image_to_image(runtime, model, scheduler=scheduler, steps=steps, strength=strength)
    assert_painted(result, (64, 64))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_any_kind_of_png_can_be_painted_anew(runtime: Runtime, model: Model, mode: str) -> None:
    assert_painted(image_to_image(runtime, model, mode, steps=2), (64, 64))


def test_less_than_one_step_is_refused_before_it_is_run(runtime: Runtime, model: Model) -> None:
    with pytest.raises(InvalidInput, match="strength must be at least"):
        image_to_image(runtime, model, steps=10, strength=0.05)


def test_sizes_need_not_be_square(runtime: Runtime, model: Model) -> None:
    assert_painted(text_to_image(runtime, model, steps=1, width=64, height=136), (64, 136))


@pytest.mark.parametrize("guidance", [1, 30])
def test_guidance_may_be_low_or_high(runtime: Runtime, model: Model, guidance: float) -> None:
    assert_painted(text_to_image(runtime, model, steps=2, guidance=guidance), (64, 64))


@pytest.mark.parametrize("prompt", ["x" * 2000, "🙂" * 500, "(a heart:1.2), [red]++", "(((", '"""', "a\x01b"])
def test_any_prompt_can_be_painted(runtime: Runtime, model: Model, prompt: str) -> None:
    assert_painted(text_to_image(runtime, model, steps=1, prompt=prompt, negative_prompt=prompt), (64, 64))


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_any_seed_can_be_painted(runtime: Runtime, model: Model, seed: int) -> None:
    assert_painted(text_to_image(runtime, model, steps=1, seed=seed, n=2), (64, 64), (64, 64))


def test_images_are_in_order(runtime: Runtime, model: Model) -> None:
    result = text_to_image(runtime, model, steps=1, n=4)
    assert [image.node for image in result.images] == [f"image_{index}" for index in range(4)]
