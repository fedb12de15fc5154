"""Every node that callers may use runs, as far as the demo model can carry it, and makes what was told."""

from __future__ import annotations

import tomllib
from collections import Counter
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest

from impasto_core.graphs.catalogue import load
from impasto_core.graphs.estimate import estimate
from impasto_core.graphs.validation import check
from tests.workers.graphs import MODEL, REFERENCES, TILE, GraphOf

if TYPE_CHECKING:
    from impasto_workers.runtime.runtime import Runtime

CATALOGUE = load()
ALLOWED = sorted(node.type for node in CATALOGUE if node.left_out is None)

OTHER_MODELS = {
    "controlnet", "flux_denoise", "flux_denoise_meta", "flux_lora_collection_loader", "flux_lora_loader",
    "flux_model_loader", "flux_text_encoder", "flux_vae_decode", "flux_vae_encode", "lora_collection_loader",
    "lora_loader", "sd3_denoise", "sd3_i2l", "sd3_l2i", "sd3_model_loader", "sd3_text_encoder",
    "sdxl_compel_prompt", "sdxl_lora_collection_loader", "sdxl_lora_loader", "sdxl_model_loader",
    "sdxl_refiner_compel_prompt", "sdxl_refiner_model_loader", "t2i_adapter", "vae_loader",
}  # fmt: skip
"""Nodes of other kinds of models than the demo model, of which there are none here."""

VALUES: dict[str, dict[str, Any]] = {
    "blank_image": {"width": 64, "height": 64},
    "calculate_image_tiles": {
        "image_width": 64, "image_height": 64, "tile_width": 40, "tile_height": 40, "overlap": 8,
    },
    "calculate_image_tiles_even_split": {"image_width": 64, "image_height": 64, "overlap": 8},
    "calculate_image_tiles_min_overlap": {
        "image_width": 64, "image_height": 64, "tile_width": 40, "tile_height": 40, "min_overlap": 8,
    },
    "crop_latents": {"x": 0, "y": 0, "width": 32, "height": 32},
    "denoise_latents": {"steps": 2},
    "div": {"a": 4, "b": 2},
    "img_channel_multiply": {"channel": "Red (RGBA)"},
    "img_channel_offset": {"channel": "Red (RGBA)"},
    "lora_selector": {"lora": MODEL},
    "pair_tile_image": {"tile": TILE},
    "paste_image_into_bounding_box": {"bounding_box": {"x_min": 0, "x_max": 64, "y_min": 0, "y_max": 64}},
    "tile_to_properties": {"tile": TILE},
    "denoise_latents_meta": {"steps": 2},
    "float_math": {"operation": "DIV", "a": 1.0, "b": 2.0},
    "img_crop": {"width": 32, "height": 32},
    "img_resize": {"width": 32, "height": 32},
    "integer_math": {"operation": "EXP", "a": 2, "b": 3},
    "lresize": {"width": 64, "height": 64},
    "lscale": {"scale_factor": 2.0},
    "mask_edge": {"edge_size": 4, "edge_blur": 4, "low_threshold": 100, "high_threshold": 200},
    "main_model_loader": {"model": MODEL},
    "model_identifier": {"model": MODEL},
    "noise": {"width": 64, "height": 64},
    "float_range": {"steps": 3},
    "rectangle_mask": {
        "width": 64, "height": 64, "x_left": 0, "y_top": 0, "rectangle_width": 8, "rectangle_height": 8,
    },
    "string_split": {"string": "a b", "delimiter": " "},
    "tiled_multi_diffusion_denoise_latents": {
        "steps": 2, "tile_width": 64, "tile_height": 64, "tile_overlap": 8,
    },
}  # fmt: skip

FEED: dict[str, tuple[str, ...]] = {
    "denoise_latents": ("noise",),
    "denoise_latents_meta": ("noise",),
    "tiled_multi_diffusion_denoise_latents": ("noise",),
    "merge_metadata": (),
    "seamless": ("unet", "vae"),
}
"""Inputs that may be empty, but not all of them."""


def test_every_stable_node_is_allowed_or_left_out_for_a_reason() -> None:
    listed = tomllib.loads((files("impasto_core.graphs") / "allowed.toml").read_text())
    allowed = [name for names in listed["allowed"].values() for name in names]
    left_out = [name for group in listed["left_out"] for name in group["nodes"]]
    stable = {node.type for node in CATALOGUE if node.classification == "stable"}

    assert {name for name, count in Counter(allowed + left_out).items() if count > 1} == set()
    assert set(allowed) - stable == {"core_metadata"}
    assert set(allowed + left_out) - {"core_metadata"} == stable


@pytest.mark.parametrize("kind", [kind for kind in ALLOWED if kind not in OTHER_MODELS])
def test_an_allowed_node_runs(runtime: Runtime, kind: str) -> None:
    graph = graph_around(kind)
    work = estimate(graph, check(graph), REFERENCES).work

    result = runtime.run(graph)

    assert result.error is None, result.error.traceback
    assert 1 <= len(result.images) <= work.images
    assert sum(image.width * image.height for image in result.images) <= work.pixel_steps


def graph_around(kind: str) -> dict[str, Any]:
    """A graph that runs the node, and returns an image: its own where it makes one."""
    node_type = CATALOGUE.get(kind)
    assert node_type is not None
    builder = GraphOf(CATALOGUE, kind, VALUES.get(kind, {}))
    nodes = builder.graph["nodes"]
    for field in FEED.get(kind, ()):
        builder.feed(builder.name, field, node_type.inputs[field].type)
    if kind == "img_watermark":  # it leaves small pictures as they are
        nodes["blank_image_1"] |= {"width": 320, "height": 320}
    if kind == "iterate":
        builder.feed(builder.name, "collection", CATALOGUE.any)
        builder.graph["edges"][-1]["source"] = {
            "node_id": builder.add("range_of_size", {"size": 2}),
            "field": "collection",
        }
    if kind == "collect":
        builder.feed(builder.name, "item", CATALOGUE.any)
    if node_type.output_type in ("image_output", "face_mask_output") and kind != "image":
        nodes[builder.name]["is_intermediate"] = False
    else:
        builder.add("blank_image", {"width": 64, "height": 64, "is_intermediate": False})
    return builder.graph
