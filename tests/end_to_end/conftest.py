"""Impasto as a user has it: started by `impastoctl up`, with a worker that paints."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.collector import Collector
from tests.support.processes import Script, alive, eventually

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def worker_python() -> str:
    """The interpreter that has InvokeAI; `nox -s tests` names it."""
    path = os.environ.get("IMPASTO_WORKER_PYTHON")
    assert path, "set IMPASTO_WORKER_PYTHON to the interpreter made by `nox -s worker`"
    return path


@pytest.fixture(scope="session")
def up(worker_python: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that starts everything, always on the same state directory."""
    state = tmp_path_factory.mktemp("end-to-end")
    module = ["-m", "impasto_ctl.main", "up", "--state-dir", str(state), "--worker-python", worker_python]
    return [sys.executable, *module]


@dataclass(frozen=True)
class Platform:
    """A running platform, and what its greeting says."""

    process: Script
    base_url: str
    api_key: str

    def run_example(self, name: str, folder: Path, *arguments: str) -> str:
        """What the example prints. It runs in `folder`, as a user would run it."""
        return run([sys.executable, str(ROOT / "examples" / name), *arguments], folder, self.environ)

    @property
    def environ(self) -> dict[str, str]:
        return {"IMPASTO_BASE_URL": self.base_url, "IMPASTO_API_KEY": self.api_key}

    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.api_key}"}
        return httpx.Client(base_url=self.base_url, headers=headers, timeout=60)


def run(command: list[str], folder: Path, environ: dict[str, str] | None = None) -> str:
    done = subprocess.run(  # noqa: S603
        command, cwd=folder, env=os.environ | (environ or {}), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """Where the platform sends its traces."""
    with Collector().running() as collector:
        yield collector


@pytest.fixture(scope="module")
def platform(up: list[str], collector: Collector) -> Iterator[Platform]:
    """Everything, up until the module's tests are done; then Ctrl-C must leave no process behind.

    Wake-ups travel by SQS: test_demo.py has them travel by Redis.
    """
    # A lost worker's job comes back after a few seconds, not half a minute.
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    process = Script(*up[1:], "--broker", "sqs", environ={"IMPASTO_LEASE_SECONDS": "4", **traced})
    try:
        lines: list[str] = []
        while "Ctrl-C" not in (line := process.line()):
            assert process.process.poll() is None, lines
            lines.append(line)
        found = dict(line.split(maxsplit=2)[1:] for line in lines if line.startswith(("Base URL", "API key")))
        yield Platform(process, found["URL"], found["key"])
        family = process.family()
        process.process.send_signal(signal.SIGINT)
        assert process.process.wait(30) == 0
        eventually(lambda: not alive(family), "something outlived impastoctl")
    finally:
        process.close()
