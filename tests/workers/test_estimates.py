"""What is told of a graph before it runs is never less than what it does."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from impasto_core.graphs.catalogue import load
from impasto_core.graphs.estimate import estimate
from impasto_core.graphs.validation import check
from tests.workers.graphs import REFERENCES, GraphOf

if TYPE_CHECKING:
    from impasto_workers.runtime.runtime import Runtime

CATALOGUE = load()


@pytest.mark.parametrize("seed", range(60))
def test_iterations_make_no_more_images_than_was_told(runtime: Runtime, seed: int) -> None:
    graph = iterating_graph(random.Random(seed))
    told = estimate(graph, check(graph), REFERENCES)

    result = runtime.run(graph)

    assert result.error is None, result.error.traceback
    assert 1 <= len(result.images) <= told.work.images
    assert sum(image.width * image.height for image in result.images) <= told.work.pixel_steps


@pytest.mark.parametrize(("outer", "inner"), [(1, 1), (3, 1), (1, 3), (2, 4)])
def test_nested_iterations_are_told_exactly(runtime: Runtime, outer: int, inner: int) -> None:
    builder = GraphOf(CATALOGUE, "blank_image", {"width": 8, "height": 8, "is_intermediate": False})
    image = builder.name
    first = iterate(builder, "range_of_size", {"size": outer})
    ranges = builder.add("range_of_size", {"size": inner, "step": 1})
    builder.connect(first, "item", ranges, "start")
    second = builder.add("iterate", {})
    builder.connect(ranges, "collection", second, "collection")
    wide = builder.add("integer_math", {"operation": "MAX", "a": 8})
    builder.connect(second, "index", wide, "b")
    builder.connect(wide, "value", image, "width")
    graph = builder.graph

    told = estimate(graph, check(graph), REFERENCES)

    assert len(runtime.run(graph).images) == told.work.images == outer * inner


def iterate(builder: GraphOf, kind: str, values: dict[str, Any]) -> str:
    """An iterate node over what a new node of that kind gives."""
    source = builder.add(kind, values)
    name = builder.add("iterate", {})
    builder.connect(source, "collection", name, "collection")
    return name


def iterating_graph(randomness: random.Random) -> dict[str, Any]:
    """Numbers that are iterated over, added, collected and iterated over again; images at every end."""
    builder = GraphOf(CATALOGUE, "blank_image", {"width": 8, "height": 8, "is_intermediate": False})
    numbers: list[tuple[str, str]] = []
    lists = [
        (builder.add("range_of_size", {"size": randomness.randint(1, 3)}), "collection")
        for _ in range(randomness.randint(1, 2))
    ]
    iterators = 0
    for _ in range(randomness.randint(3, 7)):
        choice = randomness.random()
        if choice < 0.4 and iterators < 3:
            iterators += 1
            name = builder.add("iterate", {})
            builder.connect(*randomness.choice(lists), name, "collection")
            numbers.append((name, "item"))
        elif choice < 0.7 and numbers:
            name = builder.add("add", {"a": 1, "b": 1})
            for field in ("a", "b"):
                if randomness.random() < 0.8:
                    builder.connect(*randomness.choice(numbers), name, field)
            numbers.append((name, "value"))
        elif numbers:
            name = builder.add("collect", {})
            for source in dict.fromkeys(randomness.choices(numbers, k=2)):
                builder.connect(*source, name, "item")
            if randomness.random() < 0.3:
                builder.connect(*randomness.choice(lists), name, "collection")
            lists.append((name, "collection"))
    for source in numbers:
        clamp = builder.add("integer_math", {"operation": "MAX", "a": 8})
        builder.connect(*source, clamp, "b")
        image = builder.add("blank_image", {"width": 8, "height": 8, "is_intermediate": False})
        builder.connect(clamp, "value", image, "width")
    return builder.graph
