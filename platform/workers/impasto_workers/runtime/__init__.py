"""InvokeAI without its web server: runs one graph at a time and tells what happens.

Nothing here knows a database, a queue or an object store. Importing this package is cheap and needs no
torch; `open_runtime` is what costs (15 s of imports, about 700 MB).
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from impasto_workers.runtime.environment import pin_environment
from impasto_workers.runtime.events import Event, ImageReady, NodeCompleted, NodeStarted, Step
from impasto_workers.runtime.memory import freeze_what_lives
from impasto_workers.runtime.results import (
    ModelIdentity,
    NodeError,
    RunResult,
    RuntimeUsage,
    UnidentifiedModelError,
)

if TYPE_CHECKING:
    from impasto_workers.runtime.runtime import Runtime

__all__ = [
    "Event",
    "ImageReady",
    "ModelIdentity",
    "NodeCompleted",
    "NodeError",
    "NodeStarted",
    "RunResult",
    "RuntimeUsage",
    "Step",
    "UnidentifiedModelError",
    "open_runtime",
]


def open_runtime(root: Path, *, device: str = "cpu", preview_interval: float = 0.25) -> Runtime:
    """Start InvokeAI in this process. It keeps its settings in globals, so a process has one runtime.

    root: the only folder that InvokeAI and the libraries under it may write to (made when missing).
    device: cpu, cuda, cuda:N or mps. One that torch cannot reach is an error here and not in the first job.
    preview_interval: the fewest seconds between two preview pictures of a job.
    """
    pin_environment(root, device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what other people's modules deprecate while they are imported
        from impasto_workers.runtime.torchvision_ops import declare_missing_operators

        declare_missing_operators()
        from impasto_workers.runtime.runtime import Runtime

        runtime = Runtime(preview_interval=preview_interval)

    freeze_what_lives()
    return runtime
