"""What stands in the place of InvokeAI."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from impasto_workers.runtime import (
    Event,
    ImageReady,
    ModelIdentity,
    NodeCompleted,
    NodeError,
    NodeStarted,
    RunResult,
    RuntimeUsage,
    Step,
)
from tests.support.painters import png

STEPS = 3


class Brush:
    """Paints a graph's images in one color, and nothing of its prompt.

    `error` makes it fail, `crash` raise. While held, it waits before the step that
    `waits_before` names, until it is released or told to cancel, which it does not notice when it is `deaf`.
    With `slow_models`, it waits when it is given a model too.
    """

    def __init__(self) -> None:
        self.error: NodeError | None = None
        self.crash: Exception | None = None
        self.deaf = False
        self.slow_models = False
        self.given: Mapping[str, bytes] = {}
        self.models: dict[str, Path] = {}
        self.runs = 0
        self.waits_before = ("denoise_0", 1)
        self.is_waiting = threading.Event()
        self._released = threading.Event()
        self._released.set()

    def hold(self) -> None:
        self._released.clear()

    def release(self) -> None:
        self._released.set()

    def register_model(self, key: str, name: str, path: Path) -> ModelIdentity:
        if self.slow_models:
            self._wait(threading.Event())
        self.models[key] = path
        return ModelIdentity(base="sd-1", type="main", format="diffusers", variant=None)

    def forget_model(self, key: str) -> None:
        del self.models[key]

    def usage(self) -> RuntimeUsage:
        return RuntimeUsage(model_loads=len(self.models), device_used_bytes=1, device_total_bytes=2)

    def run(
        self,
        graph: Mapping[str, Any],
        *,
        images: Mapping[str, bytes] | None = None,
        on_event: Callable[[Event], None] = lambda event: None,
        cancel: threading.Event | None = None,
    ) -> RunResult:
        self.runs += 1
        self.given = images or {}
        painted: list[ImageReady] = []
        for node in (node for node in graph["nodes"] if node.startswith("denoise_")):
            on_event(NodeStarted(node, "denoise_latents"))
            for step in range(1, STEPS + 1):
                if (node, step) == self.waits_before:
                    self._wait(cancel or threading.Event())
                if self.crash:
                    raise self.crash
                if self.error:
                    return RunResult("failed", (), self.error, 0.0)
                if cancel and cancel.is_set():
                    return RunResult("canceled", tuple(painted), None, 0.0)
                on_event(Step(node, step, STEPS, preview_jpeg=b"jpeg" if step == 1 else None))
            on_event(NodeCompleted(node, "denoise_latents"))
            image = ImageReady(node.replace("denoise", "image"), 512, 256, png(512, 256))
            painted.append(image)
            on_event(image)
        return RunResult("succeeded", tuple(painted), None, 0.0)

    def _wait(self, cancel: threading.Event) -> None:
        while not self._released.wait(0.01):
            self.is_waiting.set()
            if cancel.is_set() and not self.deaf:
                return
