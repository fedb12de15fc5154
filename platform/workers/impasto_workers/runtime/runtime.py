"""The runtime: models are registered with it, and graphs are run on it, one at a time."""

import gc
import threading
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from compel import prompt_parser
from diffusers import DiffusionPipeline
from invokeai.backend.util.devices import TorchDevice
from pyparsing import ParserElement

from impasto_workers.runtime.events import Event
from impasto_workers.runtime.job import Job
from impasto_workers.runtime.model_records import identity_of, read_model_config
from impasto_workers.runtime.progress import Progress
from impasto_workers.runtime.results import ModelIdentity, RunResult, RuntimeUsage
from impasto_workers.runtime.services import Services


def ignore(event: Event) -> None:
    """For a caller who only wants the result."""


class Runtime:
    """InvokeAI in this process. `open_runtime` makes it, having set the stage that the imports above need."""

    def __init__(
        self, *, preview_interval: float = 0.25, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._device: torch.device = TorchDevice.choose_torch_device()
        torch.empty(0, device=self._device)  # a device that is not there fails now
        ParserElement.enable_packrat()  # without it, a dozen parentheses in a prompt take hours to parse
        # Compel would make the same grammar anew for every prompt, which takes longer than parsing most.
        prompt_parser.build_parser_syntax = lru_cache(maxsize=None)(prompt_parser.build_parser_syntax)
        DiffusionPipeline._progress_bar_config = {"disable": True}  # it overrules TQDM_DISABLE
        self._services = Services()
        self._preview_interval = preview_interval
        self._clock = clock
        self._one_at_a_time = threading.Lock()

    def identify(self, path: Path) -> ModelIdentity:
        """What the model at `path` is. Reads its configuration and tensor names, not its weights.

        Raises UnidentifiedModelError, or OSError if there is nothing.
        """
        return identity_of(read_model_config(path, key="", name=path.name))

    def register_model(self, key: str, name: str, path: Path) -> ModelIdentity:
        """Let graphs name the model at `path` by `key`. Cheap when it was already registered; loads nothing.

        Raises UnidentifiedModelError, OSError if there is nothing, and ValueError when the key already stands
        for another folder: loaded models are cached by key.
        """
        records = self._services.model_records
        if not records.exists(key):
            records.add(read_model_config(path, key, name))
        config = records.get_model(key)
        if Path(config.path) != path.resolve():
            raise ValueError(f"model {key} is already registered from {config.path}")
        return identity_of(config)

    def forget_model(self, key: str) -> None:
        """Let the key stand for nothing, and give back the memory of loaded models. None may be running."""
        self._services.model_records.remove(key)
        self._services.forget_loaded_models()

    def usage(self) -> RuntimeUsage:
        """Cheap, and callable from any thread, also while a graph runs."""
        loads = self._services.model_loads
        if self._device.type != "cuda":
            return RuntimeUsage(loads, None, None)
        free, total = torch.cuda.mem_get_info(self._device)
        return RuntimeUsage(loads, total - free, total)

    def run(
        self,
        graph: Mapping[str, Any],
        *,
        images: Mapping[str, bytes] | None = None,
        on_event: Callable[[Event], None] = ignore,
        cancel: threading.Event | None = None,
    ) -> RunResult:
        """Run a graph to its end, in the calling thread. A failing node is a result, not an exception.

        graph: InvokeAI's own form: {"nodes": {id: {"id", "type", ...}}, "edges": [...]}. Which nodes a
            customer may use is checked before, not here.
        images: encoded pictures that the graph refers to by `image_name`.
        on_event: called in this thread, between steps of the model: it must be quick and must not raise.
        cancel: set it from any thread, and the run ends after the denoising step or the node in progress. If
            it is set before `run` returns, the result is "canceled", however far the graph had come.
        """
        cancel = cancel or threading.Event()
        with self._one_at_a_time:
            result = self._run(graph, images or {}, on_event, cancel)
            self._forget_job()
            if result.error is not None and result.error.kind == "out-of-memory":
                self._services.forget_loaded_models()
        return result

    @staticmethod
    def _forget_job() -> None:
        """Nothing of a job stays in memory for the next one to carry, or to find."""
        # Prompts are parsed by pyparsing, whose cache keeps exceptions; their tracebacks keep the whole job.
        ParserElement.reset_cache()
        gc.collect()  # tensors in reference cycles; costs 1 or 2 ms, since what lives for good is frozen

    def _run(
        self,
        graph: Mapping[str, Any],
        images: Mapping[str, bytes],
        on_event: Callable[[Event], None],
        cancel: threading.Event,
    ) -> RunResult:
        started = self._clock()
        if self._device.type == "cuda":
            torch.cuda.set_device(self._device)  # kept per thread, for allocations that name no index

        progress = Progress(on_event, cancel, self._preview_interval, self._clock)
        job = Job(self._services, images, on_event, cancel, progress)
        job.run(graph)

        status: Literal["succeeded", "failed", "canceled"]
        status = "canceled" if cancel.is_set() else "failed" if job.error else "succeeded"
        order = list(graph.get("nodes", ()))
        return RunResult(
            status=status,
            images=tuple(sorted(job.images, key=lambda image: order.index(image.node))),
            error=job.error if status == "failed" else None,
            seconds=self._clock() - started,
        )
