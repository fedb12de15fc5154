"""Is it alive, can it serve, which release is it: asked without a key, by load balancers and people."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import httpx
import pytest


async def test_it_is_alive_and_ready_and_says_its_release(anonymous: httpx.AsyncClient) -> None:
    assert (await anonymous.get("/livez")).json() == {"status": "ok"}
    assert (await anonymous.get("/readyz")).json() == {"status": "ok"}
    assert (await anonymous.get("/version")).json() == {"version": version("impasto-api")}


async def test_the_documentation_is_served(anonymous: httpx.AsyncClient) -> None:
    document = await anonymous.get("/openapi.json")
    assert document.json()["openapi"].startswith("3.1")
    docs = await anonymous.get("/docs")
    assert docs.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("module", ["impasto_api.app", "impasto_api.server"])
def test_the_api_imports_nothing_that_needs_a_gpu(module: str) -> None:
    heavy = "{'torch', 'torchvision', 'diffusers', 'transformers', 'invokeai', 'numpy'}"
    program = f"import sys, {module}; print(sorted({heavy} & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    assert found.stdout.strip() == "[]"
