"""`impasto-worker` with a brush in the place of InvokeAI.

All of the process is real but the painting, which is a color and takes BRUSH_STEP_SECONDS a step. It starts
in two seconds and not in fifteen, so that many can be killed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

from impasto_workers import main
from impasto_workers.runtime import Event, RunResult, Step
from tests.attempts.brush import Brush

STEP_SECONDS = float(os.environ.get("BRUSH_STEP_SECONDS", "0"))


class SlowBrush(Brush):
    def run(
        self,
        graph: Mapping[str, Any],
        *,
        images: Mapping[str, bytes] | None = None,
        on_event: Callable[[Event], None] = lambda event: None,
        cancel: threading.Event | None = None,
    ) -> RunResult:
        stop = cancel or threading.Event()

        def slowly(event: Event) -> None:
            on_event(event)
            if isinstance(event, Step):
                stop.wait(STEP_SECONDS)

        return super().run(graph, images=images, on_event=slowly, cancel=cancel)


if __name__ == "__main__":
    main.open_runtime = lambda *_, **__: SlowBrush()  # type: ignore[assignment]
    main.main()
