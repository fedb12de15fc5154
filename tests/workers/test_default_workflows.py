"""Workflows that InvokeAI brings along run here as they are: those whose models need no download.

Each is saved as a customer's would be, filled in with the models of this test, judged, and run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from impasto_core.graphs.catalogue import load
from impasto_core.graphs.estimate import estimate
from impasto_core.graphs.references import ModelResolver, networks_of
from impasto_core.graphs.validation import check
from impasto_core.models.tables import Model
from impasto_core.workflows.document import read
from impasto_core.workflows.inputs import filled, input_problems, inputs_of, with_defaults
from tests.support.workflows import default_workflow
from tests.workers.tiny_parts import write_lora, write_tiny_xl, write_tiny_xl_vae

if TYPE_CHECKING:
    from impasto_workers.runtime.runtime import Runtime

RUNS: dict[str, tuple[dict[str, Any], tuple[int, int]]] = {
    "Text to Image - SD1.5": ({"model": "tiny", "width": 64, "height": 64}, (64, 64)),
    "Text to Image with LoRA": ({"model": "tiny", "lora": "lora", "width": 64, "height": 64}, (64, 64)),
    "Text to Image - SDXL": ({"model": "xl", "vae_use_the_fp16_model": "xl-vae"}, (1024, 1024)),
}
"""What each is given, and how large its picture is."""


@pytest.fixture(scope="module")
def models(
    opened_runtime: Runtime, demo_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Model]:
    folder = tmp_path_factory.mktemp("tiny")
    write_lora(folder / "lora.safetensors")
    write_tiny_xl(folder / "xl")
    write_tiny_xl_vae(folder / "xl-vae")
    places = {
        "tiny": (demo_model, "sd-1", "main"),
        "lora": (folder / "lora.safetensors", "sd-1", "lora"),
        "xl": (folder / "xl", "sdxl", "main"),
        "xl-vae": (folder / "xl-vae", "sdxl", "vae"),
    }
    registered = {}
    for slug, (place, base, kind) in places.items():
        model = Model(slug=slug, name=slug, base=base, type=kind, source="", digest="")
        identity = opened_runtime.register_model(str(model.id), slug, place)
        assert (identity.base, identity.type) == (base, kind)
        registered[slug] = model
    return registered


@pytest.mark.parametrize("name", RUNS)
def test_a_default_workflow_runs_unchanged(
    opened_runtime: Runtime, models: dict[str, Model], name: str
) -> None:
    given, size = RUNS[name]
    known = load()
    reading = read(default_workflow(name), known)
    inputs, schema = inputs_of(reading, known)
    assert input_problems(schema, given) == []
    resolver = ModelResolver(list(models.values()), known)
    graph = resolver.resolve(filled(reading.graph, inputs, with_defaults(schema, given)))
    assert resolver.problems == []
    expected = estimate(graph, check(graph), networks_of(list(models.values())))

    result = opened_runtime.run(graph)

    assert result.error is None, result.error.traceback
    assert [(image.width, image.height) for image in result.images] == [size]
    assert expected.work.images == 1
    assert (expected.largest.width, expected.largest.height) == size


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.usefixtures("opened_runtime")
def test_it_is_the_one_that_invokeai_brings_along(name: str) -> None:
    from invokeai.app.services import workflow_records

    folder = Path(workflow_records.__file__).parent / "default_workflows"
    assert json.loads((folder / f"{name}.json").read_text()) == default_workflow(name)
