"""Is it alive, can it serve, which release is it: asked without a key, by load balancers and people."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import httpx


async def test_it_is_alive_and_ready_and_says_its_release(anonymous: httpx.AsyncClient) -> None:
    assert (await anonymous.get("/livez")).json() == {"status": "ok"}
    assert (await anonymous.get("/readyz")).json() == {"status": "ok"}
    assert (await anonymous.get("/version")).json() == {"version": version("impasto-api")}


async def test_the_documentation_is_served(anonymous: httpx.AsyncClient) -> None:
    document = await anonymous.get("/openapi.json")
    assert document.json()["openapi"].startswith("3.1")
    docs = await anonymous.get("/docs")
    assert docs.headers["content-type"].startswith("text/html")


WATCH = """
import sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in {"torch", "torchvision", "diffusers", "transformers", "invokeai"}:
            print(name)

sys.meta_path.insert(0, Watch())
import impasto_api.server
"""


def test_the_api_never_asks_for_what_needs_a_gpu() -> None:
    """Not even where it is not installed."""
    asked_for = subprocess.run([sys.executable, "-c", WATCH], capture_output=True, text=True, check=True)  # noqa: S603
    assert asked_for.stdout == ""
