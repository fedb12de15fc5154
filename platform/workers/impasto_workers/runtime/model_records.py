"""Which models the runtime has, and what a model folder holds."""

from pathlib import Path
from typing import Any

from invokeai.app.services.model_records.model_records_base import UnknownModelException
from invokeai.backend.model_manager.configs.factory import ModelConfigFactory

from impasto_workers.runtime.results import ModelIdentity, UnidentifiedModelError


def read_model_config(path: Path, key: str, name: str) -> Any:
    """InvokeAI's record of the model at `path`. Raises UnidentifiedModelError, or OSError without one."""
    path = path.resolve()
    try:
        found = ModelConfigFactory.from_model_on_disk(
            mod=path,
            override_fields={"key": key, "name": name},
            hash_algo="random",  # nobody asks for the hash, and a real one would read gigabytes
            allow_unknown=False,
        )
    except ValueError as error:
        raise UnidentifiedModelError(f"{path} does not look like a model: {error}") from error
    if found.config is None:
        raise UnidentifiedModelError(f"{path} is no model that InvokeAI knows")
    found.config.path = str(path)
    return found.config


def identity_of(config: Any) -> ModelIdentity:
    variant = getattr(config, "variant", None)
    return ModelIdentity(
        base=config.base.value,
        type=config.type.value,
        format=config.format.value,
        variant=None if variant is None else variant.value,
    )


class ModelRecords:
    """The models that jobs may use, by key. The catalogue of record is not the runtime's business."""

    def __init__(self) -> None:
        self._configs: dict[str, Any] = {}

    def add(self, config: Any) -> None:
        self._configs[config.key] = config

    def remove(self, key: str) -> None:
        del self._configs[key]

    def exists(self, key: str) -> bool:
        return key in self._configs

    def get_model(self, key: str) -> Any:
        if key not in self._configs:
            raise UnknownModelException(f"no model is registered as {key}")
        return self._configs[key]

    def search_by_attr(
        self,
        model_name: str | None = None,
        base_model: Any = None,
        model_type: Any = None,
        model_format: Any = None,
    ) -> list[Any]:
        """The models that agree with every attribute given: how a node finds a companion, such as a VAE."""
        return [
            config
            for config in self._configs.values()
            if model_name in (None, config.name)
            and base_model in (None, config.base)
            and model_type in (None, config.type)
            and model_format in (None, config.format)
        ]
