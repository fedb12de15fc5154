"""Small graphs for tests: any node with what it needs around it."""

from __future__ import annotations

from typing import Any

from impasto_core.graphs.bounds import Bound, Network
from impasto_core.graphs.catalogue import Catalogue, Type

MODEL = {"key": "demo", "hash": "sha256:00", "name": "Demo", "base": "sd-1", "type": "main"}
REFERENCES: dict[str, Bound] = {"demo": Network("sd-1", 512 * 512)}

PROVIDERS = [
    "integer", "float", "string", "boolean", "blank_image", "main_model_loader", "compel", "noise", "color",
    "bounding_box", "image_mask_to_tensor", "create_denoise_mask", "metadata_item", "metadata",
    "range_of_size", "image_collection", "string_collection", "pair_tile_image",
]  # fmt: skip
"""Nodes that give what others need, the simplest first."""

TILE = {
    "coords": {"top": 0, "bottom": 64, "left": 0, "right": 64},
    "overlap": {"top": 0, "bottom": 0, "left": 0, "right": 0},
}

VALUES: dict[str, dict[str, Any]] = {
    "blank_image": {"width": 64, "height": 64, "mode": "RGBA"},
    "noise": {"width": 64, "height": 64},
    "main_model_loader": {"model": MODEL},
    "bounding_box": {"x_max": 32, "y_max": 32},
    "range_of_size": {"size": 2},
    "string_collection": {"collection": ["a", "b"]},
    "pair_tile_image": {"tile": TILE},
    "metadata_item": {"label": "a", "value": 1},
}
"""What those nodes are given, where defaults would not do."""


class GraphOf:
    """One node, and before it whatever its required inputs need. `values` are the node's own."""

    def __init__(self, catalogue: Catalogue, kind: str, values: dict[str, Any]) -> None:
        self._catalogue = catalogue
        self.graph: dict[str, Any] = {"nodes": {}, "edges": []}
        self.name = self.add(kind, values)

    def add(self, kind: str, values: dict[str, Any]) -> str:
        name = f"{kind}_{len(self.graph['nodes'])}"
        node = self.graph["nodes"][name] = {"id": name, "type": kind, "is_intermediate": True, **values}
        node_type = self._catalogue.get(kind)
        assert node_type is not None
        for field in node_type.inputs.values():
            if field.required and node.get(field.name) is None:
                self.feed(name, field.name, field.type)
        return name

    def feed(self, name: str, field: str, wanted: Type) -> None:
        """Add a node that gives what the input wants, and an edge from it."""
        for kind in PROVIDERS:
            provider = self._catalogue.get(kind)
            assert provider is not None
            for output in provider.outputs.values():
                if output.type.connects(wanted) and output.type.name != "Any":
                    source = self.add(kind, VALUES.get(kind, {}))
                    self.connect(source, output.name, name, field)
                    return
        if items := [part for part in [wanted, *self._catalogue.parts(wanted)] if part.is_list]:
            collect = self.add("collect", {})
            self.feed(collect, "item", self._catalogue.parts(items[0])[0])
            self.connect(collect, "collection", name, field)
            return
        raise LookupError(f"nothing gives {wanted.name} to {name}.{field}")

    def connect(self, source: str, output: str, destination: str, field: str) -> None:
        self.graph["edges"].append(
            {
                "source": {"node_id": source, "field": output},
                "destination": {"node_id": destination, "field": field},
            }
        )
