"""The runtime's events as callers read them: with the whole job's progress and the image's number."""

from __future__ import annotations

import base64
from fractions import Fraction
from typing import Any

from impasto_core.jobs.events import ImageMade, Node, Step, StreamEvent
from impasto_workers import runtime


class Narrator:
    """One per attempt. Denoising is what takes the time, so the denoising nodes alone are the progress."""

    def __init__(self, graph: dict[str, Any]) -> None:
        self._denoising = {
            node_id for node_id, node in graph["nodes"].items() if "denoise" in str(node.get("type"))
        }
        self._denoised = 0
        self._of_this_node = Fraction(0)
        self._progress = 0.0
        self._images = 0

    def tell(self, event: runtime.Event) -> StreamEvent:
        match event:
            case runtime.NodeStarted():
                return Node(node=event.node, node_type=event.type, state="started")
            case runtime.NodeCompleted():
                if event.node in self._denoising:
                    self._denoised += 1
                    self._of_this_node = Fraction(0)
                return Node(node=event.node, node_type=event.type, state="completed")
            case runtime.ImageReady():
                self._images += 1
                return ImageMade(
                    index=self._images - 1, node=event.node, width=event.width, height=event.height
                )
            case runtime.Step():
                return Step(
                    node=event.node,
                    step=event.step,
                    total=event.total,
                    progress=self._advance(Fraction(event.step, event.total)),
                    preview=data_url(event.preview_jpeg) if event.preview_jpeg else None,
                )

    @property
    def denoised(self) -> Fraction:
        """The share of the job's denoising steps that have run."""
        return min(Fraction(1), (self._denoised + self._of_this_node) / max(1, len(self._denoising)))

    def _advance(self, of_this_node: Fraction) -> float:
        """Never goes back, and never over 1 where a graph runs one of its nodes several times."""
        self._of_this_node = of_this_node
        self._progress = max(self._progress, float(self.denoised))
        return round(self._progress, 4)


def data_url(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
