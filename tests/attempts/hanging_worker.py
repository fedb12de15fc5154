"""`impasto-worker` whose device hangs, where a prompt asks for it, in native code that keeps the GIL."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Mapping
from typing import Any

from impasto_workers import main
from impasto_workers.runtime import RunResult
from tests.attempts.brush import Brush


class Hanging(Brush):
    def run(self, graph: Mapping[str, Any], **others: Any) -> RunResult:
        if "hang" in json.dumps(graph):
            lock = ctypes.PyDLL(
                None
            ).pthread_mutex_lock  # PyDLL keeps the GIL, and the second call never ends
            mutex = ctypes.create_string_buffer(64)
            lock(mutex)
            lock(mutex)
        return super().run(graph, **others)


if __name__ == "__main__":
    main.open_runtime = lambda *_, **__: Hanging()  # type: ignore[assignment]
    main.main()
