"""What a graph gives back: the images of nodes that are not intermediate, in order, each with its node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from impasto_core.graphs.catalogue import load
from tests.workers.graphs import GraphOf

if TYPE_CHECKING:
    from impasto_workers.runtime.runtime import Runtime


def test_results_come_in_the_order_of_their_nodes(runtime: Runtime) -> None:
    sizes = {"zebra": 24, "ant": 16, "monkey": 8}
    nodes = {
        name: {"id": name, "type": "blank_image", "width": size, "height": 8} for name, size in sizes.items()
    }
    nodes["hidden"] = {"id": "hidden", "type": "blank_image", "is_intermediate": True}

    result = runtime.run({"nodes": nodes, "edges": []})

    assert [(image.node, image.width) for image in result.images] == list(sizes.items())


def test_a_node_that_iterates_gives_its_images_in_the_order_of_the_items(runtime: Runtime) -> None:
    builder = GraphOf(load(), "blank_image", {"width": 8, "height": 8, "is_intermediate": False})
    first = builder.name
    widths = builder.add("integer_collection", {"collection": [24, 8, 16]})
    each = builder.add("iterate", {})
    builder.connect(widths, "collection", each, "collection")
    builder.connect(each, "item", first, "width")
    last = builder.add("blank_image", {"width": 32, "height": 8, "is_intermediate": False})

    result = runtime.run(builder.graph)

    assert [(image.node, image.width) for image in result.images] == [
        (first, 24),
        (first, 8),
        (first, 16),
        (last, 32),
    ]
