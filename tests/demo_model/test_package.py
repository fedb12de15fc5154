"""The package that carries `impasto-shapes`: what its files say, read without torch."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

import impasto_demo_model
from impasto_demo_model import IMPASTO_SHAPES, model_folder


def config(part: str) -> dict[str, Any]:
    (file,) = (model_folder() / part).glob("*config.json")
    return json.loads(file.read_text())  # type: ignore[no-any-return]


def tensors(file: Path) -> dict[str, Any]:
    """The header of a safetensors file: https://huggingface.co/docs/safetensors, "Format"."""
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    return header


def test_the_model_is_small_enough_to_carry() -> None:
    assert sum(file.stat().st_size for file in model_folder().rglob("*") if file.is_file()) <= 16_000_000


@pytest.mark.parametrize("part", ["text_encoder", "unet", "vae"])
def test_weights_are_in_half_precision_and_in_no_format_that_can_run_code(part: str) -> None:
    weights = [file for file in (model_folder() / part).iterdir() if file.name != "config.json"]
    assert [file.suffix for file in weights] == [".safetensors"]
    assert {tensor["dtype"] for tensor in tensors(weights[0]).values()} == {"F16"}


def test_it_has_the_shape_of_a_stable_diffusion_1_model() -> None:
    assert json.loads((model_folder() / "model_index.json").read_text())["_class_name"] == (
        "StableDiffusionPipeline"
    )
    assert config("unet")["cross_attention_dim"] == config("text_encoder")["hidden_size"] == 768
    assert config("unet")["in_channels"] == config("vae")["latent_channels"] == 4
    assert len(config("vae")["block_out_channels"]) == 4, "three halvings: eight pixels to a latent"


def test_it_predicts_velocity_and_sampling_begins_at_the_last_step() -> None:
    scheduler = config("scheduler")
    assert scheduler["prediction_type"] == "v_prediction"
    assert scheduler["timestep_spacing"] == "trailing"


def test_its_default_size_is_the_one_it_was_trained_at() -> None:
    side = 8 * config("unet")["sample_size"]
    assert (IMPASTO_SHAPES.default_width, IMPASTO_SHAPES.default_height) == (side, side)
    assert IMPASTO_SHAPES.max_pixels >= side * side


def test_missing_weights_are_told_in_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(impasto_demo_model, "files", lambda _: tmp_path)
    with pytest.raises(FileNotFoundError, match="the demo model's weights are missing from"):
        model_folder()
