"""How much work a graph is, at the most: what it is quoted and queued by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from impasto_core.graphs.bounds import (
    DENOISERS,
    PICTURES,
    Bound,
    Many,
    Node,
    Number,
    Size,
    Unbounded,
    join,
    outputs_of,
)
from impasto_core.graphs.connections import COLLECTION, ITEM, Connections, Edge
from impasto_core.graphs.limits import (
    MAX_ITEMS,
    MAX_ITERATORS,
    MAX_RESULTS,
    MAX_RUNS,
    MAX_TOTAL_PIXELS,
    MAX_TOTAL_STEPS,
)
from impasto_core.graphs.problems import GraphProblem, InvalidGraph
from impasto_core.jobs.work import Work

LEAST = 64 * 64
"""Pixel steps of a graph that makes nearly nothing."""


@dataclass(frozen=True)
class Denoising:
    """A node that denoises: how often it runs at the most, and the pixel steps of each time."""

    times: int
    pixel_steps: int


@dataclass(frozen=True)
class Estimate:
    """What running a graph takes at the most. `largest` is the largest picture that it makes."""

    work: Work
    largest: Size
    denoising: Mapping[str, Denoising]


def estimate(graph: Mapping[str, Any], connections: Connections, references: Mapping[str, Bound]) -> Estimate:
    """The most that running a sound graph can take.

    Denoising is what takes the time: pixels x steps, once for the network and once for each ControlNet. A
    graph that denoises less than it works on pictures otherwise is counted as one step over all of those.

    references: the sizes of the images, and the networks of the models, that the graph names.
    Raises InvalidGraph where there is no such bound, or it is too high.
    """
    sums = _Sums(graph, connections, references)
    for node in connections.in_order():
        sums.add(node)
    if sums.problems:
        raise InvalidGraph(sums.problems)
    sums.check_totals()
    pixel_steps = sum(node.times * node.pixel_steps for node in sums.denoising.values())
    work = Work(max(pixel_steps, sums.pixels, LEAST), sums.results)
    return Estimate(work, sums.largest, sums.denoising)


class _Sums:
    def __init__(
        self, graph: Mapping[str, Any], connections: Connections, references: Mapping[str, Bound]
    ) -> None:
        self.problems: list[GraphProblem] = []
        self.pixels = self.steps = self.results = self.runs = 0
        self.denoising: dict[str, Denoising] = {}
        self.largest = Size(1, 1)
        self._nodes = graph["nodes"]
        self._connections = connections
        self._references = references
        self._outputs: dict[str, Mapping[str, Bound]] = {}
        self._unknown: set[str] = set()
        self._iterators: dict[str, tuple[str, ...]] = {}
        self._lengths: dict[str, int] = {}

    def add(self, name: str) -> None:
        """The next node, all of whose sources were added before."""
        into = self._connections.into(name)
        if any(edge.source in self._unknown for edge in into):
            self._unknown.add(name)  # the problem that is behind this was told
            return
        try:
            self._add(name, into)
        except Unbounded as problem:
            self._unknown.add(name)
            self.problems.append(GraphProblem(("nodes", name, problem.field), problem.code, problem.detail))

    def _add(self, name: str, into: list[Edge]) -> None:
        node_type = self._connections.nodes[name]
        fed = {edge.input: self._outputs[edge.source].get(edge.output) for edge in into}
        self._iterators[name] = self._iterators_around(name, into)
        if node_type.type == "collect":
            self._outputs[name] = {COLLECTION: self._collected(name, into)}
            self._count_runs(name)
            return
        node = Node(node_type, self._nodes[name], fed, self._references)
        self._outputs[name] = outputs_of(node)
        if node_type.type == "iterate":
            collection = node.bounds[COLLECTION]
            self._lengths[name] = collection.length if isinstance(collection, Many) else 0
            self._iterators[name] += (name,)
            if len(self._iterators[name]) > MAX_ITERATORS:
                raise Unbounded(
                    COLLECTION, "too_deep", f"There are more than {MAX_ITERATORS} iterate nodes around it."
                )
        self._count_runs(name)
        self._count_work(name, node)

    def _iterators_around(self, name: str, into: list[Edge]) -> tuple[str, ...]:
        """The iterate nodes for each of whose items the node runs. A collect node ends the innermost one."""
        collects = self._connections.nodes[name].type == "collect"
        around: dict[str, None] = {}
        for edge in into:
            outer = self._iterators[edge.source]
            around |= dict.fromkeys(outer[:-1] if collects and edge.input == ITEM else outer)
        return tuple(around)

    def _times(self, iterators: tuple[str, ...]) -> int:
        return math.prod(max(1, self._lengths[iterator]) for iterator in iterators)

    def _count_runs(self, name: str) -> None:
        self.runs += self._times(self._iterators[name])

    def _collected(self, name: str, into: list[Edge]) -> Many:
        around = set(self._iterators[name])
        length = 0
        items: list[Bound] = []
        for edge in into:
            bound = self._outputs[edge.source].get(edge.output)
            times = self._times(tuple(i for i in self._iterators[edge.source] if i not in around))
            if edge.input == COLLECTION and isinstance(bound, Many):
                length += times * bound.length
                items.append(bound.item)
            else:
                length += times
                items.append(bound)
        if length > MAX_ITEMS:
            raise Unbounded(ITEM, "too_long", f"It may collect {length} items, and {MAX_ITEMS} at most.")
        return Many(length, join(items))

    def _count_work(self, name: str, node: Node) -> None:
        times = self._times(self._iterators[name])
        sizes = [
            bound
            for output, bound in self._outputs[name].items()
            if isinstance(bound, Size) and node.type.outputs[output].type.name in PICTURES
        ]
        self.largest = max([self.largest, *sizes], key=lambda size: size.pixels)
        if node.type.type in DENOISERS:
            steps = denoising_steps(node)
            self.steps += times * steps
            self.denoising[name] = Denoising(times, steps * _pixels_a_step(node, sizes[0]))
        images = sum(output.type.name == "ImageField" for output in node.type.outputs.values())
        if images and node.type.type != "image":  # which only gives on what there is
            self.pixels += times * sum(size.pixels for size in sizes)
            if not self._nodes[name].get("is_intermediate", False):
                self.results += times * images

    def check_totals(self) -> None:
        """Raises InvalidGraph."""
        if self.runs > MAX_RUNS:
            self._too_many("too_many_runs", f"Its nodes may run {self.runs} times, and {MAX_RUNS} at most.")
        if self.steps > MAX_TOTAL_STEPS:
            self._too_many(
                "too_many_steps", f"It may take {self.steps} denoising steps, and {MAX_TOTAL_STEPS} at most."
            )
        if self.pixels > MAX_TOTAL_PIXELS:
            self._too_many(
                "too_many_pixels",
                f"The images that it makes may have {self.pixels} pixels, and {MAX_TOTAL_PIXELS} at most.",
            )
        if self.results > MAX_RESULTS:
            self._too_many(
                "too_many_images", f"It may return {self.results} images, and {MAX_RESULTS} at most."
            )
        if not self.results:
            self._too_many(
                "no_image",
                "No node that makes an image has is_intermediate false: nothing would be returned.",
            )
        if self.problems:
            raise InvalidGraph(self.problems)

    def _too_many(self, code: str, detail: str) -> None:
        self.problems.append(GraphProblem(("nodes",), code, detail))


def denoising_steps(node: Node) -> int:
    """Steps that run, from the start of the schedule that is asked for to its end."""
    steps = node.number("num_steps" if "num_steps" in node.values else "steps").high
    start, end = node.bounds.get("denoising_start"), node.bounds.get("denoising_end")
    first = start.low if isinstance(start, Number) else 0.0
    last = end.high if isinstance(end, Number) else 1.0
    return max(1, math.ceil(round(steps * (last - first), 6)))


def _pixels_a_step(node: Node, size: Size) -> int:
    control = node.bounds.get("control")
    if isinstance(control, Many):
        networks = 1 + control.length
    else:
        networks = 1 + ("control" in node.values and node.given("control"))
    if node.type.type == "tiled_multi_diffusion_denoise_latents":
        return networks * _pixels_of_tiles(node, size)
    return networks * size.pixels


def _pixels_of_tiles(node: Node, size: Size) -> int:
    """Tiles overlap, and each is denoised."""
    overlap = node.within("tile_overlap", 0, 1024).high
    pixels = 1.0
    for field, whole in (("tile_width", size.width), ("tile_height", size.height)):
        side = node.within(field, 8, 4096)
        if overlap >= side.low:
            raise Unbounded("tile_overlap", "out_of_range", "It must be less than a tile's width and height.")
        pixels *= math.ceil(max(1.0, (whole - overlap) / (side.low - overlap))) * min(side.high, whole)
    return math.ceil(pixels)
