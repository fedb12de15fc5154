"""Where the time goes: what py-spy sees of API and worker while a part of the bench runs."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.installation import Platform

_WRITE_SECONDS = 60


@contextmanager
def profiled(platform: Platform, part: str, folder: Path) -> Iterator[None]:
    """Leaves a file for each program, to be opened with https://speedscope.app."""
    folder.mkdir(parents=True, exist_ok=True)
    recorders = []
    for program, pid in (("api", platform.api_pid), ("worker", platform.worker_pid)):
        file = folder / f"{part}-{program}.speedscope.json"
        argv = ["py-spy", "record", "--threads", "--nonblocking", "--format", "speedscope"]
        recorders.append(subprocess.Popen([*argv, "--pid", str(pid), "--output", str(file)]))  # noqa: S603
    try:
        yield
    finally:
        for recorder in recorders:
            recorder.send_signal(signal.SIGINT)
        for recorder in recorders:
            recorder.wait(_WRITE_SECONDS)
