"""Pipelines: typed input, settled by the model's limits, becomes an InvokeAI graph."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from impasto_core.models.tables import Model
from impasto_core.pipelines import (
    IMAGE_TO_IMAGE,
    PIPELINES,
    TEXT_TO_IMAGE,
    ImageToImageInput,
    InvalidInput,
    TextToImageInput,
)
from impasto_core.pipelines.base import MAX_SEED, MAX_SIDE, MIN_SIDE, fit, seed_of
from impasto_core.pipelines.graph import Graph

UPLOAD = "upl_01jcp0f85v6zg8yq0gs8zfwdq4"


@pytest.fixture
def model() -> Model:
    return Model(
        slug="impasto-shapes",
        name="Tiny",
        base="sd-1",
        source="file:///nowhere",
        digest="sha256:0",
        default_width=64,
        default_height=128,
        max_pixels=512 * 512,
    )


def text_graph(model: Model, **values: Any) -> Graph:
    return TEXT_TO_IMAGE.build(TextToImageInput(**{"prompt": "a heart"} | values).resolve(model), model)


def edges_into(graph: Graph, node: str) -> dict[str, tuple[str, str]]:
    return {
        edge["destination"]["field"]: (edge["source"]["node_id"], edge["source"]["field"])
        for edge in graph["edges"]
        if edge["destination"]["node_id"] == node
    }


def test_what_the_caller_leaves_open_is_settled_before_the_job_is_made(model: Model) -> None:
    settled = TextToImageInput(prompt="a heart").resolve(model)
    assert settled.model == "impasto-shapes"
    assert (settled.width, settled.height) == (64, 128)
    assert settled.seed is not None
    assert 0 <= settled.seed <= MAX_SEED
    assert TextToImageInput(prompt="a heart").resolve(model).seed != settled.seed


def test_what_the_caller_says_stays(model: Model) -> None:
    wish = {"prompt": "p", "width": 72, "height": 256, "seed": 0, "steps": 3, "scheduler": "ddim", "n": 2}
    settled = TextToImageInput.model_validate(wish).resolve(model).model_dump(mode="json")
    assert settled | wish == settled


def test_every_image_has_its_own_noise_and_seed_and_they_share_model_and_prompts(model: Model) -> None:
    graph = text_graph(model, seed=7, n=3)
    nodes = graph["nodes"]
    assert [nodes[f"noise_{index}"]["seed"] for index in range(3)] == [7, 8, 9]
    assert [nodes[f"metadata_{index}"]["seed"] for index in range(3)] == [7, 8, 9]
    assert sum(node["type"] == "main_model_loader" for node in nodes.values()) == 1
    assert sum(node["type"] == "compel" for node in nodes.values()) == 2
    for index in range(3):
        assert edges_into(graph, f"denoise_{index}") == {
            "positive_conditioning": ("positive", "conditioning"),
            "negative_conditioning": ("negative", "conditioning"),
            "noise": (f"noise_{index}", "noise"),
            "unet": ("model", "unet"),
        }
        assert edges_into(graph, f"image_{index}") == {
            "latents": (f"denoise_{index}", "latents"),
            "vae": ("model", "vae"),
            "metadata": (f"metadata_{index}", "metadata"),
        }


def test_only_the_images_themselves_are_kept(model: Model) -> None:
    nodes = text_graph(model, n=2)["nodes"]
    assert {name for name, node in nodes.items() if not node["is_intermediate"]} == {"image_0", "image_1"}


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_edge_joins_two_nodes_that_exist(model: Model, pipeline: str) -> None:
    chosen = PIPELINES[pipeline]
    values = {"prompt": "p", "n": 4} | ({"init_image": UPLOAD} if pipeline == "image-to-image" else {})
    graph = chosen.build(chosen.input_type.model_validate(values).resolve(model), model)
    assert all(node["id"] == name for name, node in graph["nodes"].items())
    ends = [edge[end]["node_id"] for edge in graph["edges"] for end in ("source", "destination")]
    assert set(ends) <= set(graph["nodes"])


def test_seeds_wrap_around_at_32_bits(model: Model) -> None:
    assert seed_of(MAX_SEED, 0) == MAX_SEED
    assert seed_of(MAX_SEED, 1) == 0
    nodes = text_graph(model, seed=MAX_SEED, n=2)["nodes"]
    assert [nodes["noise_0"]["seed"], nodes["noise_1"]["seed"]] == [MAX_SEED, 0]


def test_image_to_image_starts_from_the_picture_resized_to_the_size_of_the_result(model: Model) -> None:
    request = ImageToImageInput(prompt="p", init_image=UPLOAD, strength=0.25, seed=1).resolve(
        model, init_size=(200, 100)
    )
    graph = IMAGE_TO_IMAGE.build(request, model)
    resize = graph["nodes"]["resize"]
    assert resize["image"] == {"image_name": UPLOAD}
    assert (resize["width"], resize["height"]) == (200, 96)
    assert edges_into(graph, "encode") == {"image": ("resize", "image"), "vae": ("model", "vae")}
    assert edges_into(graph, "denoise_0")["latents"] == ("encode", "latents")
    assert graph["nodes"]["denoise_0"]["denoising_start"] == 0.75
    assert (graph["nodes"]["noise_0"]["width"], graph["nodes"]["noise_0"]["height"]) == (200, 96)
    assert request.images() == {"init_image": UPLOAD}


def test_the_size_of_the_picture_yields_to_a_size_that_was_asked_for(model: Model) -> None:
    request = ImageToImageInput(prompt="p", init_image=UPLOAD, width=64, height=72)
    settled = request.resolve(model, init_size=(4000, 3000))
    assert (settled.width, settled.height) == (64, 72)


@pytest.mark.parametrize(
    ("size", "max_pixels", "fitted"),
    [
        ((512, 512), 512 * 512, (512, 512)),
        ((100, 100), 512 * 512, (96, 96)),
        ((1, 1), 512 * 512, (64, 64)),
        ((1024, 1024), 512 * 512, (512, 512)),
        ((768, 768), 512 * 512, (512, 512)),
        ((4000, 3000), 512 * 512, (584, 440)),
        ((10_000, 10), 512 * 512, (2048, 64)),
        ((10, 10_000), 512 * 512, (64, 2048)),
        ((10_000, 10), 64 * 64, (64, 64)),
        ((4000, 1000), 128 * 128, (256, 64)),
    ],
)
def test_a_picture_is_made_to_fit(size: tuple[int, int], max_pixels: int, fitted: tuple[int, int]) -> None:
    assert fit(*size, max_pixels) == fitted


def test_whatever_the_picture_the_model_can_paint_its_size() -> None:
    lengths = [1, 7, 63, 64, 65, 100, 333, 512, 999, 1024, 2047, 2048, 4000, 16_000]
    for max_pixels in (64 * 64, 300 * 300, 512 * 512, 1024 * 1024):
        for width in lengths:
            for height in lengths:
                w, h = fit(width, height, max_pixels)
                assert w * h <= max_pixels
                assert w % 8 == h % 8 == 0
                assert MIN_SIDE <= min(w, h) <= max(w, h) <= MAX_SIDE
                if min(w, h) > MIN_SIDE:
                    assert math.isclose(w / h, width / height, rel_tol=0.15), "about the same shape"


def test_more_pixels_than_the_model_can_paint_are_refused_by_name(model: Model) -> None:
    with pytest.raises(InvalidInput, match="1024 x 512 is more than the 262144 pixels") as refused:
        TextToImageInput(prompt="p", width=1024, height=512).resolve(model)
    assert refused.value.field == "width"


def test_a_strength_that_leaves_no_step_to_take_is_refused_with_one_that_works(model: Model) -> None:
    for steps in range(1, 101):
        with pytest.raises(InvalidInput, match="strength must be at least") as refused:
            ImageToImageInput.model_construct(steps=steps, strength=0.9 / steps).resolve(model)
        assert refused.value.field == "strength"
        advice = float(refused.value.detail.removesuffix(".").split()[-1])
        ImageToImageInput.model_construct(steps=steps, strength=advice).resolve(model)


REFUSED = {
    "no prompt": {"prompt": ""},
    "a prompt that is too long": {"prompt": "x" * 2001},
    "a prompt with a character that PostgreSQL cannot store": {"prompt": "a\0b"},
    "a negative prompt that is too long": {"negative_prompt": "x" * 2001},
    "a size that is no multiple of 8": {"width": 65},
    "a size that is too small": {"height": 56},
    "a size that is too large": {"width": 4096},
    "a size in words": {"width": "wide"},
    "no steps": {"steps": 0},
    "a billion steps": {"steps": 10**9},
    "half a step": {"steps": 1.5},
    "guidance that is not a number": {"guidance": math.nan},
    "guidance without end": {"guidance": math.inf},
    "guidance below one": {"guidance": 0.9},
    "a scheduler that does not exist": {"scheduler": "magic"},
    "a negative seed": {"seed": -1},
    "a seed of more than 32 bits": {"seed": 2**32},
    "no images": {"n": 0},
    "too many images": {"n": 5},
    "a field that does not exist": {"promt": "x"},
}


@pytest.mark.parametrize("values", REFUSED.values(), ids=REFUSED)
def test_input_beyond_the_limits_is_refused_by_name(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        TextToImageInput(**{"prompt": "p"} | values)
    assert [error["loc"] for error in refused.value.errors()] == [tuple(values)]


@pytest.mark.parametrize(
    "wrong", ["", "upl_1", "job_01jcp0f85v6zg8yq0gs8zfwdq4", "../../etc/passwd", UPLOAD + "\n"]
)
def test_image_to_image_starts_from_an_upload_or_an_image_only(wrong: str) -> None:
    with pytest.raises(ValidationError, match="init_image"):
        ImageToImageInput(prompt="p", init_image=wrong)
