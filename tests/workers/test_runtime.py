"""What the runtime promises to the worker, on a real InvokeAI with a tiny model."""

from __future__ import annotations

import gc
import io
import itertools
import json
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from impasto_workers.runtime import (
    Event,
    ImageReady,
    NodeCompleted,
    NodeStarted,
    RunResult,
    Step,
    UnidentifiedModelError,
    open_runtime,
)

if TYPE_CHECKING:
    from impasto_workers.runtime.runtime import Runtime

Graph = dict[str, Any]
DEMO = {"key": "demo", "hash": "", "name": "Demo", "base": "sd-1", "type": "main"}


def build_graph(*nodes: dict[str, Any], edges: list[str]) -> Graph:
    """A graph in InvokeAI's form. Edges are written "model.unet -> denoise.unet"."""

    def end(text: str) -> dict[str, str]:
        node_id, field = text.strip().split(".")
        return {"node_id": node_id, "field": field}

    pairs = [edge.split("->") for edge in edges]
    return {
        "nodes": {node["id"]: node for node in nodes},
        "edges": [{"source": end(source), "destination": end(destination)} for source, destination in pairs],
    }


def text_to_image(*, seeds: tuple[int, ...] = (1,), steps: int = 2, scheduler: str = "euler") -> Graph:
    nodes: list[dict[str, Any]] = [
        {"id": "model", "type": "main_model_loader", "model": DEMO},
        {"id": "positive", "type": "compel", "prompt": "a cat"},
        {"id": "negative", "type": "compel", "prompt": ""},
    ]
    edges = ["model.clip -> positive.clip", "model.clip -> negative.clip"]
    for i, seed in enumerate(seeds):
        nodes += [
            {"id": f"noise_{i}", "type": "noise", "seed": seed, "width": 64, "height": 64},
            {"id": f"denoise_{i}", "type": "denoise_latents", "steps": steps, "scheduler": scheduler},
            {
                "id": f"about_{i}",
                "type": "core_metadata",
                "positive_prompt": "a cat",
                "seed": seed,
                "model": DEMO,
            },
            {"id": f"decode_{i}", "type": "l2i"},
        ]
        edges += [
            f"positive.conditioning -> denoise_{i}.positive_conditioning",
            f"negative.conditioning -> denoise_{i}.negative_conditioning",
            f"noise_{i}.noise -> denoise_{i}.noise",
            f"model.unet -> denoise_{i}.unet",
            f"denoise_{i}.latents -> decode_{i}.latents",
            f"model.vae -> decode_{i}.vae",
            f"about_{i}.metadata -> decode_{i}.metadata",
        ]
    return build_graph(*nodes, edges=edges)


def image_to_image(image_name: str, *, steps: int = 4, strength: float = 0.5) -> Graph:
    graph = text_to_image(steps=steps)
    graph["nodes"]["encode"] = {"id": "encode", "type": "i2l", "image": {"image_name": image_name}}
    graph["nodes"]["denoise_0"]["denoising_start"] = 1 - strength
    graph["edges"] += build_graph(
        edges=["model.vae -> encode.vae", "encode.latents -> denoise_0.latents"],
    )["edges"]
    return graph


def show(image_name: str) -> Graph:
    """The smallest graph that reads an image: it saves it again."""
    return build_graph({"id": "show", "type": "show_image", "image": {"image_name": image_name}}, edges=[])


def pixels(result: RunResult, index: int = 0) -> bytes:
    return Image.open(io.BytesIO(result.images[index].png)).tobytes()


def png(color: str, size: tuple[int, int] = (64, 64)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


def steps_of(events: list[Event]) -> list[tuple[int, int]]:
    return [(event.step, event.total) for event in events if isinstance(event, Step)]


# --- pictures


def test_a_prompt_becomes_a_png_of_the_size_asked_for(runtime: Runtime) -> None:
    result = runtime.run(text_to_image())

    assert (result.status, result.error) == ("succeeded", None)
    (image,) = result.images
    picture = Image.open(io.BytesIO(image.png))
    assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (64, 64))
    assert (image.node, image.width, image.height) == ("decode_0", 64, 64)


def test_the_same_seed_gives_the_same_pixels_and_another_seed_others(runtime: Runtime) -> None:
    first, again, other = (runtime.run(text_to_image(seeds=(seed,))) for seed in (1, 1, 2))

    assert pixels(first) == pixels(again)
    assert pixels(first) != pixels(other)


def test_several_pictures_come_back_in_the_order_of_the_graph(runtime: Runtime) -> None:
    result = runtime.run(text_to_image(seeds=(7, 8, 9)))

    assert [image.node for image in result.images] == ["decode_0", "decode_1", "decode_2"]
    for index, seed in enumerate((7, 8, 9)):
        assert pixels(result, index) == pixels(runtime.run(text_to_image(seeds=(seed,))))


def test_pictures_of_an_iterated_node_carry_the_id_it_has_in_the_graph(runtime: Runtime) -> None:
    graph = text_to_image()
    graph["nodes"]["seeds"] = {"id": "seeds", "type": "range_of_size", "start": 1, "size": 2}
    graph["nodes"]["each"] = {"id": "each", "type": "iterate"}
    graph["edges"] += build_graph(edges=["seeds.collection -> each.collection", "each.item -> noise_0.seed"])[
        "edges"
    ]

    result = runtime.run(graph)

    assert [image.node for image in result.images] == ["decode_0", "decode_0"]
    assert pixels(result, 0) != pixels(result, 1)


def test_intermediate_pictures_are_not_results(runtime: Runtime) -> None:
    graph = text_to_image()
    graph["nodes"]["decode_0"]["is_intermediate"] = True

    assert runtime.run(graph).images == ()


def test_a_png_tells_seed_prompt_and_model_but_not_the_graph(runtime: Runtime) -> None:
    (image,) = runtime.run(text_to_image(seeds=(42,))).images

    texts = Image.open(io.BytesIO(image.png)).info
    assert set(texts) == {"invokeai_metadata"}
    about = json.loads(texts["invokeai_metadata"])
    assert (about["seed"], about["positive_prompt"], about["model"]["name"]) == (42, "a cat", "Demo")


def test_a_picture_can_start_from_another(runtime: Runtime) -> None:
    events: list[Event] = []
    graph = image_to_image("start.png", steps=4, strength=0.5)
    red = runtime.run(graph, images={"start.png": png("red")}, on_event=events.append)
    blue = runtime.run(graph, images={"start.png": png("blue")})

    assert (red.status, blue.status) == ("succeeded", "succeeded")
    assert pixels(red) != pixels(blue)
    assert steps_of(events) == [(1, 2), (2, 2)]


def test_a_picture_made_from_another_is_the_same_every_time(runtime: Runtime) -> None:
    graph = image_to_image("start.png")
    first = runtime.run(graph, images={"start.png": png("red")})
    runtime.run(text_to_image())
    again = runtime.run(graph, images={"start.png": png("red")})

    assert pixels(first) == pixels(again)


# --- progress


def test_events_tell_the_run_in_order(runtime: Runtime) -> None:
    events: list[Event] = []
    result = runtime.run(text_to_image(), on_event=events.append)

    *_, saved, last = events
    assert saved == result.images[0]
    assert last == NodeCompleted("decode_0", "l2i")
    started = [event.node for event in events if isinstance(event, NodeStarted)]
    completed = [event.node for event in events if isinstance(event, NodeCompleted)]
    assert sorted(started) == sorted(completed) == sorted(text_to_image()["nodes"])


@pytest.mark.parametrize(("scheduler", "asked", "made"), [("euler", 5, 5), ("heun", 4, 7), ("pndm", 4, 5)])
def test_every_step_is_told_once(runtime: Runtime, scheduler: str, asked: int, made: int) -> None:
    events: list[Event] = []
    runtime.run(text_to_image(steps=asked, scheduler=scheduler), on_event=events.append)

    assert steps_of(events) == [(step, made) for step in range(1, made + 1)]


def test_previews_are_jpegs_and_keep_their_distance(runtime: Runtime, demo_model: Path) -> None:
    from impasto_workers.runtime.runtime import Runtime

    seconds = itertools.count()
    patient = Runtime(
        preview_interval=3, clock=lambda: next(seconds)
    )  # every look at the clock is a second later
    patient.register_model("demo", "Demo", demo_model)
    events: list[Event] = []
    patient.run(text_to_image(steps=8), on_event=events.append)

    previews = {
        event.step: event.preview_jpeg for event in events if isinstance(event, Step) and event.preview_jpeg
    }
    assert list(previews) == [1, 4, 7]
    picture = Image.open(io.BytesIO(previews[7]))
    assert (picture.format, picture.size) == ("JPEG", (8, 8))


# --- cancel


def test_cancel_stops_a_job_within_a_step(runtime: Runtime) -> None:
    cancel = threading.Event()
    events: list[Event] = []

    def on_event(event: Event) -> None:
        events.append(event)
        if isinstance(event, Step) and event.step == 3:
            cancel.set()

    result = runtime.run(text_to_image(steps=30), on_event=on_event, cancel=cancel)

    assert (result.status, result.images, result.error) == ("canceled", (), None)
    assert steps_of(events) == [(1, 30), (2, 30), (3, 30)]
    assert runtime.run(text_to_image()).status == "succeeded"


def test_a_job_canceled_before_it_starts_runs_no_node(runtime: Runtime) -> None:
    cancel = threading.Event()
    cancel.set()
    events: list[Event] = []

    assert runtime.run(text_to_image(), on_event=events.append, cancel=cancel).status == "canceled"
    assert events == []


def test_a_job_canceled_in_its_last_node_is_canceled_and_keeps_its_pictures(runtime: Runtime) -> None:
    cancel = threading.Event()

    def on_event(event: Event) -> None:
        if isinstance(event, ImageReady):
            cancel.set()

    result = runtime.run(text_to_image(), on_event=on_event, cancel=cancel)

    assert (result.status, len(result.images)) == ("canceled", 1)


# --- failure


def test_a_failing_node_is_named(runtime: Runtime) -> None:
    result = runtime.run(image_to_image("missing.png"))

    assert (result.status, result.images) == ("failed", ())
    assert result.error is not None
    assert (result.error.node, result.error.node_type) == ("encode", "i2l")
    assert (result.error.type, result.error.kind) == ("ImageFileNotFoundException", "node-failed")
    assert "missing.png" in result.error.message
    assert "Traceback" in result.error.traceback


def test_a_node_given_a_wrong_value_by_another_is_named(runtime: Runtime) -> None:
    graph = build_graph(
        {"id": "width", "type": "integer", "value": 63},
        {"id": "noise", "type": "noise", "seed": 1},
        edges=["width.value -> noise.width"],
    )

    error = runtime.run(graph).error

    assert error is not None
    assert (error.node, error.node_type, error.type) == ("noise", "noise", "NodeInputError")


def test_a_file_that_is_no_picture_fails_the_node_that_reads_it(runtime: Runtime) -> None:
    error = runtime.run(image_to_image("text.png"), images={"text.png": b"not a picture"}).error

    assert error is not None
    assert (error.node, error.type) == ("encode", "UnidentifiedImageError")


def test_an_unknown_model_fails_the_node_that_names_it(runtime: Runtime) -> None:
    graph = text_to_image()
    graph["nodes"]["model"]["model"] = DEMO | {"key": "unheard-of"}

    error = runtime.run(graph).error

    assert error is not None
    assert (error.node, error.node_type) == ("model", "main_model_loader")


def test_a_graph_that_invokeai_refuses_fails_as_a_whole(runtime: Runtime) -> None:
    result = runtime.run(build_graph({"id": "x", "type": "no_such_node"}, edges=[]))

    assert result.status == "failed"
    assert result.error is not None
    assert (result.error.node, result.error.node_type) == (None, None)


def test_a_full_host_fails_the_job_and_leaves_the_runtime_usable(runtime: Runtime) -> None:
    graph = text_to_image()
    graph["nodes"]["noise_0"] |= {
        "width": 32_000_000,
        "height": 32_000_000,
    }  # 256 TB: more than a process can address

    result = runtime.run(graph)

    assert result.error is not None
    assert (result.error.node, result.error.kind) == ("noise_0", "out-of-memory")
    assert runtime.run(text_to_image()).status == "succeeded"


def test_errors_of_the_device_are_told_from_those_of_a_node() -> None:
    from impasto_workers.runtime.job import kind_of

    words = {
        "CUDA error: device-side assert triggered": "device-failed",
        "CUDA error: an illegal memory access was encountered": "device-failed",
        "CUDA error: out of memory": "out-of-memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`": "out-of-memory",
        "mat1 and mat2 shapes cannot be multiplied": "node-failed",
    }
    assert {text: kind_of(RuntimeError(text)) for text in words} == words
    assert kind_of(ValueError("CUDA error: says a prompt")) == "node-failed"


def test_a_full_gpu_fails_the_job_and_empties_the_model_cache(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from invokeai.app.invocations.latents_to_image import LatentsToImageInvocation

    def run_out(*_: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with monkeypatch.context() as patch:
        patch.setattr(LatentsToImageInvocation, "invoke", run_out)
        result = runtime.run(text_to_image())

    assert result.error is not None
    assert (result.error.node, result.error.kind) == ("decode_0", "out-of-memory")
    assert not [
        model for model in live_objects(torch.nn.Module) if type(model).__name__ == "UNet2DConditionModel"
    ]
    assert runtime.run(text_to_image()).status == "succeeded"


# --- isolation


def live_objects(kind: type) -> list[Any]:
    gc.collect()
    return [thing for thing in gc.get_objects() if isinstance(thing, kind)]


def test_a_job_cannot_read_the_images_of_another(runtime: Runtime) -> None:
    assert runtime.run(show("secret.png"), images={"secret.png": png("red")}).status == "succeeded"

    error = runtime.run(show("secret.png")).error

    assert error is not None
    assert error.type == "ImageFileNotFoundException"


def test_a_job_cannot_read_the_latents_of_another(runtime: Runtime) -> None:
    noise = {"id": "noise", "type": "noise", "seed": 1, "width": 64, "height": 64}
    crop = {"id": "crop", "type": "crop_latents", "x": 0, "y": 0, "width": 64, "height": 64}
    own = build_graph(noise, crop, edges=["noise.noise -> crop.latents"])
    assert runtime.run(own).status == "succeeded"  # in that job, "object-0" was the noise

    another = build_graph(crop | {"latents": {"latents_name": "object-0"}}, edges=[])
    error = runtime.run(another).error

    assert error is not None
    assert (error.node, error.type) == ("crop", "ObjectNotFoundError")


def test_nothing_of_a_job_outlives_it(runtime: Runtime) -> None:
    from impasto_workers.runtime.job import Job
    from impasto_workers.runtime.stores import JobImages, JobObjects

    runtime.run(image_to_image("start.png"), images={"start.png": png("red")})
    runtime.run(image_to_image("missing.png"))

    assert live_objects(Job) == live_objects(JobImages) == live_objects(JobObjects) == []


def test_a_node_that_would_download_is_refused(runtime: Runtime) -> None:
    graph = build_graph({"id": "upscale", "type": "esrgan", "image": {"image_name": "start.png"}}, edges=[])

    error = runtime.run(graph, images={"start.png": png("red")}).error

    assert error is not None
    assert (error.node, error.type) == ("upscale", "UnavailableServiceError")


def test_jobs_leave_no_files(runtime: Runtime, runtime_root: Path) -> None:
    before = sorted(runtime_root.rglob("*"))
    runtime.run(text_to_image())

    assert sorted(runtime_root.rglob("*")) == before
    assert [path.name for path in runtime_root.iterdir()] == ["cache"]


def test_a_run_prints_nothing(runtime: Runtime, capfd: pytest.CaptureFixture[str]) -> None:
    runtime.run(text_to_image())

    assert capfd.readouterr() == ("", "")


# --- models and process


def test_a_model_folder_is_identified(runtime: Runtime, demo_model: Path) -> None:
    identity = runtime.identify(demo_model)

    assert (identity.base, identity.type, identity.format, identity.variant) == (
        "sd-1",
        "main",
        "diffusers",
        "normal",
    )


def test_a_folder_that_holds_no_model_is_refused(runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(UnidentifiedModelError):
        runtime.identify(tmp_path)
    with pytest.raises(UnidentifiedModelError):
        runtime.register_model("nothing", "Nothing", tmp_path)


def test_a_key_names_one_folder(runtime: Runtime, demo_model: Path, tmp_path: Path) -> None:
    assert runtime.register_model("demo", "Demo", demo_model) == runtime.identify(demo_model)
    with pytest.raises(ValueError, match="already registered"):
        runtime.register_model("demo", "Demo", tmp_path)


def test_a_key_that_was_forgotten_can_name_another_folder(
    runtime: Runtime, demo_model: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(demo_model, other)
    runtime.register_model("changing", "Changing", demo_model)
    runtime.forget_model("changing")
    assert runtime.register_model("changing", "Changing", other).base == "sd-1"


def test_a_process_has_one_runtime(runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="one runtime"):
        open_runtime(tmp_path)
