"""What the runtime answers."""

from dataclasses import dataclass, field
from typing import Literal

from impasto_workers.runtime.events import ImageReady


@dataclass(frozen=True, slots=True)
class NodeError:
    """Why a graph failed.

    Outsiders may see the node and the kind of error. `message` and `traceback` are for our logs: other
    libraries wrote them, and they can name our paths. Without a node, the graph was refused as a whole.
    """

    node: str | None
    node_type: str | None
    type: str
    message: str
    out_of_memory: bool
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


class UnidentifiedModelError(ValueError):
    """InvokeAI does not know what this folder holds."""
