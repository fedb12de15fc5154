"""`impasto-worker` with a brush in the place of InvokeAI: all of the process is real but the painting."""

from __future__ import annotations

from impasto_workers import main
from tests.attempts.brush import Brush

if __name__ == "__main__":
    main.open_runtime = lambda *_, **__: Brush()  # type: ignore[assignment]
    main.main()
