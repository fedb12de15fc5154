"""Everything that the README and the examples tell a user to run, is run."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from tests.support.painters import png
from tests.support.tenants import Tenant

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.usefixtures("busy_painter")


@pytest.fixture
def python(base_url: str, tenant: Tenant, tmp_path: Path) -> Any:
    """Runs Python in an empty folder, with key and address in the environment; returns what it printed."""
    environment = {**os.environ, "IMPASTO_API_KEY": tenant.api_key, "IMPASTO_BASE_URL": base_url}

    async def run(*arguments: str) -> str:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


async def test_quickstart(python: Any, tmp_path: Path) -> None:
    printed = await python(str(ROOT / "examples/quickstart.py"))
    assert re.search(r"^job      job_\w+\nqueued   [\d.]+ s\nrunning  [\d.]+ s$", printed, re.MULTILINE)
    saved = re.search(r"^saved    (.*)$", printed, re.MULTILINE)
    assert saved
    assert Path(saved[1]) == tmp_path / "quickstart.png"
    Pillow.open(saved[1]).verify()


async def test_workflow(python: Any) -> None:
    exported = ROOT / "tests/workflows/Text to Image - SD1.5.json"
    inputs = ["model=impasto-shapes", "positive_prompt=a big red heart", "width=64", "height=64"]
    for _ in range(2):  # the second time it is a new version
        printed = await python(str(ROOT / "examples/workflow.py"), str(exported), "tiger", *inputs)
        assert re.search(r"^positive_prompt +string +Super cute tiger cub", printed, re.MULTILINE)
        assert printed.splitlines()[-1].endswith("tiger_0.png")


async def test_async_batch(python: Any) -> None:
    printed = await python(str(ROOT / "examples/async_batch.py"))
    assert {line.rpartition(": ")[2] for line in printed.splitlines()} == {
        "a_red_heart_on_white.png",
        "a_yellow_star_on_blue.png",
        "two_green_circles_on_black.png",
    }


async def test_image_to_image(python: Any, tmp_path: Path) -> None:
    (tmp_path / "sketch.png").write_bytes(png())
    printed = await python(str(ROOT / "examples/image_to_image.py"), "sketch.png", "a blue star on white")
    assert printed.splitlines() == ["strength_0.3.png", "strength_0.6.png", "strength_0.9.png"]


async def test_budget_batch(python: Any) -> None:
    """Four pictures of one credit each, and a budget for three."""
    printed = await python(str(ROOT / "examples/budget_batch.py"), "3")
    stopped, _, header, *receipt, total = printed.splitlines()
    assert stopped == "stopped before 'a blue square on yellow': it can cost 1 credits, and 0 are left"
    assert header.split() == ["prompt", "status", "quoted", "cost"]
    assert [line.split()[-3:] for line in receipt] == [["succeeded", "1", "1"]] * 3
    assert total.split() == ["total", "3"]


async def test_the_readme(python: Any, tmp_path: Path, base_url: str, tenant: Tenant) -> None:
    """All its snippets, one after the other, as one program."""
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "sdk/README.md").read_text(), re.DOTALL)
    program = "\n".join(snippets)
    program = program.replace("http://127.0.0.1:8000", base_url).replace("imp_live_...", tenant.api_key)
    (tmp_path / "readme.py").write_text(program)
    printed = await python("readme.py")
    assert (tmp_path / "lighthouse.png").exists()
    assert "3 of 3" in printed
    assert "input.width" in printed


async def test_the_shell_snippets(python: Any, tmp_path: Path) -> None:
    (shell,) = re.findall(
        r"## In a shell\n\n```sh\n(.*?)```", (ROOT / "sdk/README.md").read_text(), re.DOTALL
    )
    for line in shell.splitlines():
        assert await python("-m", "impasto._cli", *shlex.split(line)[1:])
    assert (tmp_path / "lighthouse.png").exists()
