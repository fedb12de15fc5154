"""Processes to kill, and a way to see what outlives them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def eventually(condition: Callable[[], bool], complaint: str, within: float = 20) -> None:
    """Returns once the condition holds; fails with the complaint when it does not within some seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.02)


class Script:
    """A Python process of its own. Its standard output is ours to read."""

    def __init__(self, *arguments: str | Path, environ: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | dict(environ or {}),
        )

    def line(self) -> str:
        """The next line it prints; empty when it has ended."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def family(self) -> set[int]:
        """The process ids of all its descendants."""
        parents = {int(entry.name): _parent(entry) for entry in Path("/proc").glob("[0-9]*")}
        ancestors = {self.process.pid}
        while young := {pid for pid, parent in parents.items() if parent in ancestors} - ancestors:
            ancestors |= young
        return ancestors - {self.process.pid}

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def alive(pids: set[int]) -> set[int]:
    """Those of the processes that still run."""
    return {pid for pid in pids if _parent(Path(f"/proc/{pid}")) is not None}


def _parent(entry: Path) -> int | None:
    """The parent of a process, by its folder in /proc; None when it has ended."""
    try:
        state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state == "Z" else int(parent)
