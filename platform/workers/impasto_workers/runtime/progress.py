"""What a node is given to tell how far it is, and to ask whether it should go on."""

import io
import threading
from collections.abc import Callable
from typing import Any

from invokeai.app.services.session_processor.session_processor_common import CanceledException
from invokeai.app.util.step_callback import diffusion_step_callback
from invokeai.backend.model_manager.taxonomy import BaseModelType
from PIL import Image

from impasto_workers.runtime.events import Event, Step


class Progress:
    """Takes the place of `context.util`, whose own step callback tells only a percentage, and N + 1 times.

    One job has one, and one node runs at a time: `enter` says which.
    """

    def __init__(
        self,
        on_event: Callable[[Event], None],
        cancel: threading.Event,
        preview_interval: float,
        clock: Callable[[], float],
    ) -> None:
        self._on_event = on_event
        self._cancel = cancel
        self._preview_interval = preview_interval
        self._clock = clock
        self._preview_due_at = float("-inf")
        self._node = ""
        self._last_step = 0

    def enter(self, node: str) -> None:
        self._node = node
        self._last_step = 0

    def is_canceled(self) -> bool:
        return self._cancel.is_set()

    def signal_progress(self, *_: Any, **__: Any) -> None:
        """Nodes announce "Loading model", "Saving image" and the like; the node's own events say enough."""

    def sd_step_callback(self, state: Any, base_model: BaseModelType) -> None:
        """Called by denoising nodes between steps. Raising here is how a job stops in the middle of one."""
        if self._cancel.is_set():
            raise CanceledException
        if state.step <= self._last_step:  # 0 is the noise before the first, and some models repeat a step
            return
        self._last_step = state.step
        self._on_event(
            Step(self._node, state.step, state.total_steps, self._preview_if_due(state, base_model))
        )

    def flux_step_callback(self, state: Any) -> None:
        self.sd_step_callback(state, BaseModelType.Flux)

    def flux2_step_callback(self, state: Any) -> None:
        self.sd_step_callback(state, BaseModelType.Flux2)

    def _preview_if_due(self, state: Any, base_model: BaseModelType) -> bytes | None:
        """A JPEG of the latents, or None when the last one is too fresh: making it takes model time."""
        now = self._clock()
        if now < self._preview_due_at:
            return None
        self._preview_due_at = now + self._preview_interval

        previews: list[Image.Image] = []
        diffusion_step_callback(
            signal_progress=lambda _message, _percentage, image, _size: previews.append(image),
            intermediate_state=state,
            base_model=base_model,
            is_canceled=self._cancel.is_set,
        )
        buffer = io.BytesIO()
        previews[0].save(buffer, "JPEG")
        return buffer.getvalue()
