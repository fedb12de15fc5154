"""The images and models that a graph names: by whose ids, and where.

A model is named by its id with us, or as InvokeAI writes it: an object with a key, which may be that id, and
a name. Before a graph runs each is replaced by what the worker's InvokeAI knows the model by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from impasto_core.graphs.bounds import Bound, Network
from impasto_core.graphs.catalogue import Catalogue, Input
from impasto_core.graphs.limits import MAX_IMAGES, MAX_MODELS
from impasto_core.graphs.problems import GraphProblem
from impasto_core.models.tables import Model

Path = tuple[str, ...]


def images_named(graph: Mapping[str, Any]) -> dict[str, Path]:
    """The names of images that stand in the graph, and where each stands first."""
    found: dict[str, Path] = {}
    for path, value in _objects(("nodes",), graph["nodes"]):
        if isinstance(name := value.get("image_name"), str):
            found.setdefault(name, (*path, "image_name"))
    return found


def names_of_models(graph: Mapping[str, Any], catalogue: Catalogue) -> set[str]:
    """Whatever the graph calls models: ids, keys and names."""
    return {name for _, _, value in _models(graph, catalogue) for name in _names(value)}


def identifier_of(model: Model) -> dict[str, str]:
    """What InvokeAI's nodes name the model by."""
    return {
        "key": str(model.id),
        "hash": model.digest,
        "name": model.name,
        "base": model.base,
        "type": model.type,
    }


def networks_of(models: Sequence[Model]) -> dict[str, Bound]:
    """How large each model may paint, by the key that resolved graphs have."""
    return {str(model.id): Network(model.base, model.max_pixels) for model in models if model.type == "main"}


class ModelResolver:
    """Puts InvokeAI's identifiers into a graph. `used` are then its models, in order of appearance."""

    def __init__(self, models: Sequence[Model], catalogue: Catalogue) -> None:
        self._by_name = {name: model for model in models for name in (model.name, str(model.id), model.slug)}
        self._catalogue = catalogue
        self.used: dict[UUID, tuple[Model, Path]] = {}
        self.problems: list[GraphProblem] = []

    def resolve(self, graph: Mapping[str, Any]) -> dict[str, Any]:
        """The graph with its models resolved, and nothing that InvokeAI would ignore. See also `problems`."""
        identifiers: dict[Path, dict[str, str]] = {}
        for path, field, value in _models(graph, self._catalogue):
            model = next((self._by_name[name] for name in _names(value) if name in self._by_name), None)
            if model is None:
                self._refuse(
                    path, "not_found", f"There is no model {_names(value)[0]!r:.100}: see GET /v1/models."
                )
            elif field is not None and not _suits(model, field):
                self._refuse(
                    path,
                    "wrong_model",
                    f"{model.slug} is a {model.base} {model.type} model. {_wanted(field)}",
                )
            else:
                identifiers[path] = identifier_of(model)
                self.used.setdefault(model.id, (model, path))
        if len(self.used) > MAX_MODELS:
            self._refuse(("nodes",), "too_many_models", f"The graph names more than {MAX_MODELS} models.")
        nodes = _replaced(("nodes",), graph["nodes"], identifiers)
        return {"nodes": nodes, "edges": graph.get("edges", [])}

    def _refuse(self, path: Path, code: str, detail: str) -> None:
        self.problems.append(GraphProblem(path, code, detail))


def too_many_images(images: Mapping[str, Path]) -> list[GraphProblem]:
    if len(images) <= MAX_IMAGES:
        return []
    return [GraphProblem(("nodes",), "too_many_images", f"The graph names more than {MAX_IMAGES} images.")]


def _models(graph: Mapping[str, Any], catalogue: Catalogue) -> Iterator[tuple[Path, Input | None, Any]]:
    """Every place where a model is named, with the input that it is the whole value of."""
    for name, node in graph["nodes"].items():
        node_type = catalogue.get(str(node.get("type"))) if isinstance(node, dict) else None
        for field, value in node.items() if node_type else ():
            path: Path = ("nodes", name, field)
            known = node_type.inputs.get(field) if node_type else None
            if known and known.type.name.startswith("ModelIdentifierField") and _names(value):
                yield path, known, value
            else:
                yield from (
                    (where, None, found) for where, found in _objects(path, value) if _is_model(found)
                )


def _is_model(value: Mapping[str, Any]) -> bool:
    """As InvokeAI's ModelIdentifierField is written."""
    return "key" in value and "base" in value and bool(_names(value))


def _names(value: Any) -> list[str]:
    found: list[Any] = [value.get("key"), value.get("name")] if isinstance(value, dict) else [value]
    return [name for name in found if isinstance(name, str) and name]


def _suits(model: Model, field: Input) -> bool:
    types, bases = field.schema.get("ui_model_type"), field.schema.get("ui_model_base")
    return (not types or model.type in types) and (not bases or model.base in bases)


def _wanted(field: Input) -> str:
    types = field.schema.get("ui_model_type") or ["any"]
    bases = field.schema.get("ui_model_base") or ["any base"]
    return f"It takes {' or '.join(types)} models of {' or '.join(bases)}."


def _objects(path: Path, value: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every object in the value, with where it is. Values are not nested deep: see `plain`."""
    if isinstance(value, dict):
        yield path, value
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for name, member in members:
        yield from _objects((*path, str(name)), member)


def _replaced(path: Path, value: Any, replacements: Mapping[Path, Any]) -> Any:
    if path in replacements:
        return replacements[path]
    if isinstance(value, dict):
        return {name: _replaced((*path, name), member, replacements) for name, member in value.items()}
    if isinstance(value, list):
        return [_replaced((*path, str(index)), member, replacements) for index, member in enumerate(value)]
    return value
