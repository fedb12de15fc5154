"""Scripts that do not outlive their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.processes import Script


@pytest.fixture
def run() -> Iterator[Callable[..., Script]]:
    """Starts a Script, killed at the end of the test if it still runs."""
    scripts: list[Script] = []

    def start(*arguments: str | Path, environ: Mapping[str, str] | None = None) -> Script:
        scripts.append(Script(*arguments, environ=environ))
        return scripts[-1]

    yield start
    for script in scripts:
        script.close()
