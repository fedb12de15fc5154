"""The runtime is opened once: importing InvokeAI takes 15 seconds, and a process can have only one."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from impasto_workers.runtime import open_runtime
from tests.workers.tiny_model import write_tiny_model

if TYPE_CHECKING:
    from impasto_workers.runtime.runtime import Runtime


@pytest.fixture(scope="session")
def runtime_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runtime")


@pytest.fixture(scope="session")
def opened_runtime(runtime_root: Path) -> Runtime:
    if importlib.util.find_spec("invokeai") is None:
        pytest.fail("needs the environment of `nox -s worker`")
    return open_runtime(runtime_root, device="cpu")


@pytest.fixture(scope="session")
def demo_model(opened_runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "demo"
    write_tiny_model(folder)
    return folder


@pytest.fixture(scope="session")
def runtime(opened_runtime: Runtime, demo_model: Path) -> Runtime:
    """A runtime on the CPU that knows the demo model as "demo"."""
    opened_runtime.register_model("demo", "Demo", demo_model)
    return opened_runtime
