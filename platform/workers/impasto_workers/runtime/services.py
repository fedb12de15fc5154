"""InvokeAI's services. A job is given six; in the place of every other stands one that refuses.

So a node that asks for the database, a download, a user or somebody's gallery fails, whatever its graph says.
"""

import gc
import inspect
from typing import Any

from invokeai.app.services.config.config_default import get_config
from invokeai.app.services.events.events_base import EventServiceBase
from invokeai.app.services.invocation_services import InvocationServices
from invokeai.app.services.model_manager.model_manager_default import ModelManagerService
from invokeai.backend.model_manager.load.model_cache.cache_stats import CacheStats
from invokeai.backend.util.logging import InvokeAILogger

from impasto_workers.runtime.memory import freeze_what_lives
from impasto_workers.runtime.model_records import ModelRecords
from impasto_workers.runtime.stores import JobImages, JobObjects

_SLOTS = tuple(inspect.signature(InvocationServices).parameters)
_EVERYTHING = 2**60  # bytes: more than any cache holds


class UnavailableServiceError(AttributeError):
    """A node reached for a part of InvokeAI that does not exist here."""


class Unavailable:
    """Stands where InvokeAI expects a service that jobs may not have."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        raise UnavailableServiceError(f"{self._name}.{attribute} is not available to a job")


class Services:
    """What outlives a job: settings, logger, model records, and the cache of loaded models."""

    def __init__(self) -> None:
        self._config = get_config()
        self._logger = InvokeAILogger.get_logger(config=self._config)
        self.model_records = ModelRecords()
        built = ModelManagerService.build_model_manager(
            app_config=self._config,
            model_record_service=self.model_records,
            download_queue=Unavailable("download_queue"),
            events=EventServiceBase(),
        )
        # The builder always adds an installer, which downloads. None of the services is started: that would
        # connect the loader to an event bus, and we have none.
        self._models = ModelManagerService(
            store=built.store, install=Unavailable("model_install"), load=built.load
        )
        self._cache_stats = self._models.load.ram_cache.stats = CacheStats()

    def for_job(self, images: JobImages) -> InvocationServices:
        """The services of one job: `images` and new, empty stores are its own, the rest is shared."""
        slots: dict[str, Any] = {name: Unavailable(name) for name in _SLOTS}
        slots.update(
            configuration=self._config,
            logger=self._logger,
            model_manager=self._models,
            images=images,
            tensors=JobObjects(),
            conditioning=JobObjects(),
        )
        return InvocationServices(**slots)

    @property
    def model_loads(self) -> int:
        """How often a model or a part of one was read, because it was not in memory."""
        misses: int = self._cache_stats.misses
        return misses

    def forget_loaded_models(self) -> None:
        """Give back the memory of every model that no node is using, on the device and off it."""
        gc.unfreeze()  # models that were loaded early are frozen too
        self._models.load.ram_cache.make_room(_EVERYTHING)
        freeze_what_lives()
