"""What happens while a graph runs. Nodes carry the ids of the caller's graph, not those of its expansion."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class NodeStarted:
    node: str
    type: str


@dataclass(frozen=True, slots=True)
class NodeCompleted:
    node: str
    type: str


@dataclass(frozen=True, slots=True)
class Step:
    """A denoising step was finished: `step` counts 1, 2, ... `total`, each exactly once.

    `total` is the scheduler's own count, which need not be the one asked for (heun makes 7 of 4). The preview
    has one pixel per latent, about an eighth of the picture's size: whoever shows it scales it up.
    """

    node: str
    step: int
    total: int
    preview_jpeg: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ImageReady:
    """A picture is finished. Told as soon as it is saved, and listed again in the run's result."""

    node: str
    width: int
    height: int
    png: bytes = field(repr=False)


Event = NodeStarted | NodeCompleted | Step | ImageReady
