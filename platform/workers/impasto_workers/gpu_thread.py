"""The one thread in which models are loaded and graphs run: a device and InvokeAI serve one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class GpuThread:
    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gpu")
        self._latest: Future[Any] | None = None

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls the function there. Cancelling this call does not stop the function: it keeps the thread."""
        context = copy_context()  # what is logged there belongs to the same job
        future = self._executor.submit(partial(context.run, function, *args, **kwargs))
        self._latest = future
        return await asyncio.wrap_future(future)

    @property
    def is_busy(self) -> bool:
        return self._latest is not None and not self._latest.done()
