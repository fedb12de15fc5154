"""What the runtime answers."""

from dataclasses import dataclass, field
from typing import Literal

from impasto_workers.runtime.events import ImageReady


@dataclass(frozen=True, slots=True)
class NodeError:
    """Why a graph failed.

    Outsiders may see the node and the kind of error. `traceback`, for our logs, says where and not why: the
    `message`, which other libraries wrote, can quote the prompt. Without a node, the graph was refused whole.
    After "device-failed" the runtime is of no more use, nor is its process.
    """

    node: str | None
    node_type: str | None
    type: str
    message: str
    kind: Literal["node-failed", "out-of-memory", "device-failed"]
    traceback: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended. `images` are those finished by then, in the order of their nodes in the graph.

    `error` is given exactly when the status is "failed"; `seconds` is wall time.
    """

    status: Literal["succeeded", "failed", "canceled"]
    images: tuple[ImageReady, ...]
    error: NodeError | None
    seconds: float


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What a model folder was found to be, in InvokeAI's words: "sd-1", "main", "diffusers", "normal"."""

    base: str
    type: str
    format: str
    variant: str | None


@dataclass(frozen=True, slots=True)
class RuntimeUsage:
    """What the runtime has done and holds. Memory is that of the whole GPU, and None where there is none."""

    model_loads: int
    device_used_bytes: int | None
    device_total_bytes: int | None


class UnidentifiedModelError(ValueError):
    """InvokeAI does not know what this folder holds."""
