"""What is imported when: torch costs 15 seconds and 700 MB."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["impasto_workers.sweeper", "impasto_workers.main"])
def test_importing_it_leaves_torch_out(module: str) -> None:
    program = f"import sys, {module}; print({{'torch', 'invokeai'}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "set()"
