"""The runtime's events as callers read them: with the whole job's progress and the image's number."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from impasto_core.graphs.bounds import DENOISERS
from impasto_core.graphs.estimate import Denoising
from impasto_core.jobs.events import ImageMade, Node, Step, StreamEvent
from impasto_workers import runtime


class Narrator:
    """One per attempt. Denoising is what takes the time, so the denoising nodes alone are the progress."""

    def __init__(self, graph: dict[str, Any]) -> None:
        self._denoising: Mapping[str, Denoising] = {
            node_id: Denoising(1, 1)
            for node_id, node in graph["nodes"].items()
            if node.get("type") in DENOISERS
        }
        self._denoised = Fraction(0)
        self._of_this_node = Fraction(0)
        self._progress = 0.0
        self._images = 0

    def expect(self, denoising: Mapping[str, Denoising]) -> None:
        """What is known of the nodes before they run; until then, each counts as much as any other."""
        self._denoising = denoising

    def tell(self, event: runtime.Event) -> StreamEvent:
        match event:
            case runtime.NodeStarted():
                return Node(node=event.node, node_type=event.type, state="started")
            case runtime.NodeCompleted():
                if event.node in self._denoising:
                    self._denoised += self._denoising[event.node].pixel_steps
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
                    progress=self._advance(event.node, Fraction(event.step, event.total)),
                    preview=data_url(event.preview_jpeg) if event.preview_jpeg else None,
                )

    @property
    def denoised(self) -> Fraction:
        """The share of the job's denoising that has been done, in pixels x steps."""
        expected = sum(node.times * node.pixel_steps for node in self._denoising.values())
        return min(Fraction(1), (self._denoised + self._of_this_node) / max(1, expected))

    def _advance(self, node: str, share: Fraction) -> float:
        """Never goes back, and never over 1."""
        if node in self._denoising:
            self._of_this_node = share * self._denoising[node].pixel_steps
        self._progress = max(self._progress, float(self.denoised))
        return round(self._progress, 4)


def data_url(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
