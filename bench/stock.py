"""The baseline: InvokeAI's own server, with a queue of its own, running the graphs that our jobs run."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx

from impasto_core.pipelines import TEXT_TO_IMAGE, TextToImageInput
from impasto_ctl.process import Child, stop_together

_LAUNCHER = Path(__file__).parent / "baselines" / "stock_invokeai.py"
_START_SECONDS = 300
_POLL_SECONDS = 0.01


class StockInvokeAI:
    """A client of `invokeai-web` that has one model, registered in place."""

    def __init__(self, client: httpx.Client, model_folder: Path) -> None:
        self._client = client
        installed = client.post(
            "/api/v2/models/install", params={"source": str(model_folder), "inplace": True}, json={}
        )
        installed.raise_for_status()
        self._model = self._wait_for_model()

    def run(self, request: TextToImageInput, seeds: Sequence[int]) -> float:
        """Queue the request once for each seed; seconds from the first request to the last picture."""
        started = time.perf_counter()
        before = self._status()["completed"]
        batch = {
            "graph": self._graph(request),
            "runs": 1,
            "data": [[{"node_path": "noise_0", "field_name": "seed", "items": list(seeds)}]],
        }
        self._client.post(
            "/api/v1/queue/default/enqueue_batch", json={"batch": batch, "prepend": False}
        ).raise_for_status()
        while (status := self._status())["completed"] < before + len(seeds):
            if status["failed"]:
                raise RuntimeError("stock InvokeAI could not run the graph: see its log")
            time.sleep(_POLL_SECONDS)
        return time.perf_counter() - started

    def _status(self) -> dict[str, Any]:
        status: dict[str, Any] = self._client.get("/api/v1/queue/default/status").json()["queue"]
        return status

    def _graph(self, request: TextToImageInput) -> dict[str, Any]:
        graph = TEXT_TO_IMAGE.build(request, SimpleNamespace(id="", digest="", name="", base=""))  # type: ignore[arg-type]
        for node in graph["nodes"].values():
            if "model" in node:
                node["model"] = {name: self._model[name] for name in ("key", "hash", "name", "base", "type")}
        return {"id": "bench", **graph}

    def _wait_for_model(self) -> dict[str, Any]:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            models: list[dict[str, Any]] = self._client.get("/api/v2/models/").json()["models"]
            if models:
                return models[0]
            time.sleep(0.2)
        raise RuntimeError("stock InvokeAI did not install the model: see its log")


@contextmanager
def stock_invokeai(worker_python: Path, folder: Path, model_folder: Path) -> Iterator[StockInvokeAI]:
    """`invokeai-web`, started with its defaults, on the CPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    environ = os.environ | {
        "INVOKEAI_ROOT": str(folder),
        "INVOKEAI_HOST": "127.0.0.1",
        "INVOKEAI_PORT": str(port),
        "INVOKEAI_DEVICE": "cpu",
        "HF_HUB_OFFLINE": "1",
        "OMP_WAIT_POLICY": "PASSIVE",  # as our worker sets it: without, a busy CPU is several times slower
    }
    server = Child("invokeai-web", [worker_python, _LAUNCHER], log=folder / "log", environ=environ)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            server.wait_until(lambda: _answers(client), _START_SECONDS)
            yield StockInvokeAI(client, model_folder)
    finally:
        stop_together([server])


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/api/v1/app/version").is_success
    except httpx.TransportError:
        return False
