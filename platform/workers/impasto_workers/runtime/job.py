"""One run of one graph: its nodes in order, and the pictures they leave."""

import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from invokeai.app.services.session_processor.session_processor_common import CanceledException
from invokeai.app.services.shared.graph import GraphExecutionState, NodeInputError
from invokeai.app.services.shared.invocation_context import (
    BoardsInterface,
    ConditioningInterface,
    ConfigInterface,
    ImagesInterface,
    InvocationContext,
    InvocationContextData,
    LoggerInterface,
    ModelsInterface,
    TensorsInterface,
    VideosInterface,
)
from PIL import Image

from impasto_workers.runtime.events import Event, ImageReady, NodeCompleted, NodeStarted
from impasto_workers.runtime.progress import Progress
from impasto_workers.runtime.results import NodeError
from impasto_workers.runtime.services import Services
from impasto_workers.runtime.stores import JobImages, encode_png


@dataclass(frozen=True, slots=True)
class QueueItem:
    """What is left of InvokeAI's queue item: the four things that a node's context reads from it."""

    session: GraphExecutionState
    session_id: str
    user_id: str = "system"
    workflow: None = None


class Job:
    """Runs one graph once. Afterwards `images` and `error` tell how it went; all else goes with the object.

    InvokeAI's own session runner does the same around a queue, a profiler, an event bus and borrowed GPUs.
    This loop has none of them, and sees a node's exception itself instead of its name.
    """

    def __init__(
        self,
        services: Services,
        given_images: Mapping[str, bytes],
        on_event: Callable[[Event], None],
        cancel: threading.Event,
        progress: Progress,
    ) -> None:
        self.images: list[ImageReady] = []
        self.error: NodeError | None = None
        self._services = services.for_job(JobImages(given_images, on_output=self._keep_output))
        self._on_event = on_event
        self._cancel = cancel
        self._progress = progress
        self._session: Any = None
        self._running: Any = None

    def run(self, graph: Mapping[str, Any]) -> None:
        """Run node after node until none is left, one fails, or the job is canceled."""
        try:
            self._session = GraphExecutionState.model_validate({"graph": graph})
            while not self._cancel.is_set():
                node = self._session.next()
                if node is None:
                    break
                self._run_node(node)
        except CanceledException:
            pass
        except Exception as error:  # whatever goes wrong in a node is the job's failure, not the worker's
            self.error = self._describe(error)

    def _run_node(self, node: Any) -> None:
        self._running = node
        node_id = self._source_id(node)
        self._progress.enter(node_id)
        self._on_event(NodeStarted(node_id, node.get_type()))
        torch.manual_seed(0)  # a few nodes, i2l for one, take no seed and draw from this generator
        output = node.invoke_internal(self._context(node), self._services)
        self._session.complete(node.id, output)
        self._on_event(NodeCompleted(node_id, node.get_type()))
        self._running = None

    def _context(self, node: Any) -> InvocationContext:
        """What the node may touch. As InvokeAI builds it, but for `util`, which is our Progress."""
        services = self._services
        data = InvocationContextData(
            queue_item=QueueItem(self._session, self._session.id),
            invocation=node,
            source_invocation_id=self._source_id(node),
        )
        return InvocationContext(
            images=ImagesInterface(services, data, self._progress),
            videos=VideosInterface(services, data, self._progress),
            tensors=TensorsInterface(services, data),
            conditioning=ConditioningInterface(services, data),
            models=ModelsInterface(services, data, self._progress),
            logger=LoggerInterface(services, data),
            config=ConfigInterface(services, data),
            util=self._progress,
            boards=BoardsInterface(services, data),
            data=data,
            services=services,
        )

    def _keep_output(self, image: Image.Image, metadata: str | None) -> None:
        ready = ImageReady(self._source_id(self._running), *image.size, png=encode_png(image, metadata))
        self.images.append(ready)
        self._on_event(ready)

    def _source_id(self, node: Any) -> str:
        """The node's id in the caller's graph: InvokeAI runs copies under new ids, one per iteration."""
        source_id: str = self._session.prepared_source_mapping[node.id]
        return source_id

    def _describe(self, error: Exception) -> NodeError:
        node = error.node if isinstance(error, NodeInputError) else self._running
        return NodeError(
            node=None if node is None else self._source_id(node),
            node_type=None if node is None else node.get_type(),
            type=type(error).__name__,
            message=str(error),
            kind=kind_of(error),
            traceback=places(error),
        )


def places(error: BaseException | None) -> str:
    """The traceback without the errors' own words: they may quote the prompt, and this is logged."""
    if error is None:
        return ""
    frames = "".join(traceback.format_tb(error.__traceback__))
    return f"{places(error.__cause__)}{type(error).__name__}\nTraceback (most recent call last):\n{frames}"


NO_ROOM = ("DefaultCPUAllocator", "CUDA error: out of memory", "_STATUS_ALLOC_FAILED")


def kind_of(error: Exception) -> Literal["node-failed", "out-of-memory", "device-failed"]:
    """torch has a type for a full GPU. For a full host, libraries below it, and a GPU that has failed it has
    only words.

    After any other error of CUDA, be it the hardware's or a kernel's, this process can do no more with it
    (CUDA Runtime API, cudaError_t: "the process must be terminated and relaunched").
    """
    words = str(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or any(part in words for part in NO_ROOM):
        return "out-of-memory"
    if isinstance(error, RuntimeError) and words.startswith("CUDA error"):
        return "device-failed"
    return "node-failed"
