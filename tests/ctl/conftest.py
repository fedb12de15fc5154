"""What tests about processes need: a separate impastoctl to kill, and a way to see what outlives it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Eventually = Callable[[Callable[[], bool], str], None]


@pytest.fixture
def eventually() -> Eventually:
    """Waits until a condition holds; fails with the given complaint when it does not within 20 s."""

    def wait(condition: Callable[[], bool], complaint: str) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, complaint
            time.sleep(0.02)

    return wait


class Script:
    """A Python program of its own, which says one line on standard output once it is ready."""

    def __init__(self, source: str, *arguments: str | Path, prefix: tuple[str, ...] = ()) -> None:
        self.process = subprocess.Popen(  # noqa: S603
            [*prefix, sys.executable, "-c", source, *arguments], stdout=subprocess.PIPE, text=True
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def family(self) -> set[int]:
        """The process ids of all its descendants."""
        parents = {int(entry.name): parent_of(entry) for entry in Path("/proc").glob("[0-9]*")}
        family: set[int] = set()
        while (
            new := {pid for pid, parent in parents.items() if parent in family | {self.process.pid}} - family
        ):
            family |= new
        return family

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def parent_of(entry: Path) -> int | None:
    """The parent of a process by its folder in /proc; None when it has ended."""
    try:
        state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state == "Z" else int(parent)


@pytest.fixture
def alive() -> Callable[[set[int]], set[int]]:
    """Those of the processes that still run."""
    return lambda pids: {pid for pid in pids if parent_of(Path(f"/proc/{pid}")) is not None}


@pytest.fixture
def run() -> Iterator[Callable[..., Script]]:
    """Starts Scripts and makes sure that none outlives the test."""
    scripts: list[Script] = []

    def start(source: str, *arguments: str | Path, prefix: tuple[str, ...] = ()) -> Script:
        scripts.append(Script(source, *arguments, prefix=prefix))
        return scripts[-1]

    yield start
    for script in scripts:
        script.close()
