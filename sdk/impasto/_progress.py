"""How far a job is, and a bar to show it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from inspect import isawaitable
from typing import Any, ClassVar, TextIO, TypeAlias

from .types.event import Canceled, Event, Failed, Queued, Started, Step, Succeeded
from .types.job import Job, JobStatus, QueuePlace


@dataclass(frozen=True)
class Progress:
    """Where a job is at the moment."""

    job_id: str
    status: JobStatus = "queued"
    fraction: float = 0.0
    """How much of the whole job is done, 0 to 1."""
    step: int = 0
    """The denoising steps of the current image that are done..."""
    total: int = 0
    """...and how many it takes. 0 before the first."""
    preview_jpeg: bytes | None = None
    """What the image looks like so far."""
    position: int | None = None
    """Its place in the queue, 1 is next, if it waits in one..."""
    eta_seconds: float | None = None
    """...and how long it will, as far as that can be told."""

    def after(self, event: Event[Any]) -> Progress:
        match event:
            case Queued():
                return self._waiting(event.queue)
            case Started():
                return Progress(self.job_id, "running")
            case Step():
                return Progress(
                    self.job_id, "running", event.progress, event.step, event.total, event.preview_jpeg
                )
            case Succeeded() | Failed() | Canceled():
                return self.at(event.job)
            case _:
                return self

    def at(self, job: Job[Any]) -> Progress:
        if job.status == "queued":
            return self._waiting(job.queue)
        fraction = 1.0 if job.status == "succeeded" else self.fraction
        return replace(self, status=job.status, fraction=fraction, position=None, eta_seconds=None)

    def _waiting(self, place: QueuePlace | None) -> Progress:
        if place is None:
            return Progress(self.job_id)
        return Progress(self.job_id, position=place.position, eta_seconds=place.eta_seconds)


OnProgress: TypeAlias = Callable[[Progress], object]
"""Called with every change. With `AsyncImpasto` it may be a coroutine function."""


class Audience:
    """Those who want to see the progress of one job. They are told what changes, and nothing twice."""

    def __init__(self, job_id: str, on_progress: OnProgress | None, *, bar: bool) -> None:
        self._bar = ProgressBar() if bar else None
        self._watchers = [watcher for watcher in (on_progress, self._bar) if watcher]
        self._progress = Progress(job_id)
        self._told: Progress | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: object) -> None:
        if self._bar:
            self._bar.close()

    async def hear(self, event: Event[Any]) -> None:
        await self._tell(self._progress.after(event))

    async def see(self, job: Job[Any]) -> None:
        await self._tell(self._progress.at(job))

    async def _tell(self, progress: Progress) -> None:
        self._progress = progress
        if progress == self._told:
            return
        self._told = progress
        for watcher in self._watchers:
            answer = watcher(progress)
            if isawaitable(answer):
                await answer


class ProgressBar:
    """An `on_progress` callback that draws on stderr: a bar on a terminal, a line a stage elsewhere."""

    WIDTH: ClassVar[int] = 30

    def __init__(self, file: TextIO | None = None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._file = file or sys.stderr
        self._monotonic = monotonic
        self._began = monotonic()
        self._drawn = ""
        self._full, self._empty = "█░" if _can_encode("█░", self._file) else "#."

    def __call__(self, progress: Progress) -> None:
        if self._file.isatty():
            line = self._line(progress)
            self._file.write("\r" + line.ljust(len(self._drawn)))
        elif (line := self._stage(progress)) != self._drawn:
            self._file.write(line + "\n")
        self._file.flush()
        self._drawn = line

    def close(self) -> None:
        """Leave the line to whatever is written next."""
        if self._drawn and self._file.isatty():
            self._file.write("\n")
        self._drawn = ""

    def _line(self, progress: Progress) -> str:
        filled = round(self.WIDTH * progress.fraction)
        bar = self._full * filled + self._empty * (self.WIDTH - filled)
        step = f"  step {progress.step}/{progress.total}" if progress.total else ""
        place = f"  place {progress.position}" if progress.position else ""
        if progress.eta_seconds is not None:
            place += f", starts in {progress.eta_seconds:.0f} s"
        seconds = self._monotonic() - self._began
        return f"{progress.status:<9} {bar} {progress.fraction:4.0%}{step}{place}  {seconds:.1f} s"

    def _stage(self, progress: Progress) -> str:
        """The same for a log file: changes every quarter of the way."""
        quarter = int(progress.fraction * 4) * 25
        return f"{progress.job_id} {progress.status}" + (
            f" {quarter}%" if progress.status == "running" else ""
        )


def _can_encode(text: str, file: TextIO) -> bool:
    try:
        text.encode(file.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
