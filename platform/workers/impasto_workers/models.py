"""The models that this worker's runtime knows."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol
from uuid import UUID

from impasto_core.models.tables import Model
from impasto_workers.gpu_thread import GpuThread
from impasto_workers.model_files import ModelFiles, ModelUnavailable
from impasto_workers.runtime import ModelIdentity

logger = logging.getLogger(__name__)


class Registrar(Protocol):
    """The part of the runtime that models are made known to."""

    def register_model(self, key: str, name: str, path: Path) -> ModelIdentity: ...
    def forget_model(self, key: str) -> None: ...


class Models:
    """Fetches and registers a model once. Graphs name it by the id of its row."""

    def __init__(self, runtime: Registrar, gpu: GpuThread, files: ModelFiles) -> None:
        self._runtime = runtime
        self._gpu = gpu
        self._files = files
        self._digests: dict[UUID, str] = {}

    async def ensure(self, model: Model) -> None:
        """Returns once a graph can use the model. Raises ModelUnavailable, StorageUnavailable."""
        known = self._digests.get(model.id)
        if known == model.digest:
            return
        folder = await self._files.folder(model)
        if known is not None:
            logger.info("model %s was changed", model.slug)
            del self._digests[model.id]
            await self._gpu.run(self._runtime.forget_model, str(model.id))
        try:
            identity = await self._gpu.run(self._runtime.register_model, str(model.id), model.name, folder)
        except (ValueError, OSError) as error:
            raise ModelUnavailable(f"{model.slug} at {folder}: {error}") from error
        self._digests[model.id] = model.digest
        logger.info("model %s: %s %s, %s", model.slug, identity.base, identity.type, identity.format)
