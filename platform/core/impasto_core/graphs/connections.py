"""Whether a graph's edges fit: InvokeAI's own rules, from the catalogue's types.

The verdicts are those of `invokeai.app.services.shared.graph.Graph`: of `validate_self`, which looks at a
whole graph, and of `add_edge`, which alone refuses a second edge into an input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from impasto_core.graphs.catalogue import Catalogue, NodeType, Type
from impasto_core.graphs.problems import GraphProblem

ITEM = "item"
COLLECTION = "collection"


@dataclass(frozen=True)
class Edge:
    """From an output of a node to an input of another. `index` is its place in the graph's list."""

    index: int
    source: str
    output: str
    destination: str
    input: str

    def problem(self, code: str, detail: str) -> GraphProblem:
        """A fault of the edge, at the input that it feeds."""
        return GraphProblem(("nodes", self.destination, self.input), code, f"edge {self.index}: {detail}")


class Connections:
    """The edges of a graph whose nodes and fields all exist, by node and field."""

    def __init__(self, catalogue: Catalogue, nodes: Mapping[str, NodeType], edges: list[Edge]) -> None:
        self.catalogue = catalogue
        self.nodes = nodes
        self.edges = edges
        self._into: dict[str, list[Edge]] = {node: [] for node in nodes}
        self._from: dict[str, list[Edge]] = {node: [] for node in nodes}
        for edge in edges:
            self._into[edge.destination].append(edge)
            self._from[edge.source].append(edge)

    def into(self, node: str, field: str | None = None) -> list[Edge]:
        return [edge for edge in self._into[node] if field in (None, edge.input)]

    def out_of(self, node: str, field: str) -> list[Edge]:
        return [edge for edge in self._from[node] if edge.output == field]

    def output_type(self, edge: Edge) -> Type:
        return self.nodes[edge.source].outputs[edge.output].type

    def input_type(self, edge: Edge) -> Type:
        return self.nodes[edge.destination].inputs[edge.input].type

    def in_order(self) -> list[str]:
        """The nodes, each after those that feed it. Nodes on or behind a cycle are missing."""
        waiting = {node: len({edge.source for edge in edges}) for node, edges in self._into.items()}
        ready = [node for node, count in waiting.items() if not count]
        for node in ready:
            for follower in self._followers(node):
                waiting[follower] -= 1
                if not waiting[follower]:
                    ready.append(follower)
        return ready

    def _followers(self, node: str) -> list[str]:
        return list(dict.fromkeys(edge.destination for edge in self._from[node]))

    def problems(self) -> Iterator[GraphProblem]:
        """Everything wrong with the edges. Rules that need sound edges are looked at only where they are."""
        simple = [*self._repeated(), *self._cycles(), *self._mismatched()]
        yield from simple or self._of_iterators_and_collectors()

    def _repeated(self) -> Iterator[GraphProblem]:
        seen: set[tuple[str, str, str, str]] = set()
        fed: set[tuple[str, str]] = set()
        for edge in self.edges:
            ends = (edge.source, edge.output, edge.destination, edge.input)
            collects = self.nodes[edge.destination].type == "collect" and edge.input == ITEM
            if ends in seen:
                yield edge.problem("duplicate_edge", "It is in the graph twice.")
            elif not collects and ends[2:] in fed:
                yield edge.problem("input_taken", "Another edge leads to this input.")
            seen.add(ends)
            fed.add(ends[2:])

    def _cycles(self) -> Iterator[GraphProblem]:
        for edge in self.edges:
            if edge.source == edge.destination:
                yield edge.problem("self_loop", "A node cannot feed itself.")
                return
        caught = self.nodes.keys() - set(self.in_order())
        while behind := {node for node in caught if caught.isdisjoint(self._followers(node))}:
            caught -= behind  # fed by the cycle, but not on it
        if caught:
            edge = next(edge for edge in self.edges if {edge.source, edge.destination} <= caught)
            yield edge.problem("cycle", f"The graph has a cycle among {', '.join(sorted(caught)[:5])}.")

    def _mismatched(self) -> Iterator[GraphProblem]:
        for edge in self.edges:
            given, wanted = self.output_type(edge), self.input_type(edge)
            if not given.connects(wanted):
                yield edge.problem(
                    "type_mismatch",
                    f"{edge.source}.{edge.output} is of type {given.name}, and {wanted.name} is wanted.",
                )

    def _of_iterators_and_collectors(self) -> Iterator[GraphProblem]:
        items = self._types_collected()
        for node, node_type in self.nodes.items():
            if node_type.type == "iterate":
                yield from self._of_iterator(node, items)
            elif node_type.type == "collect":
                yield from self._of_collector(node, items)

    def _of_iterator(self, node: str, items: Mapping[str, set[Type]]) -> Iterator[GraphProblem]:
        into = self.into(node, COLLECTION)
        if not into:
            yield GraphProblem(
                ("nodes", node, COLLECTION),
                "missing_edge",
                "An iterate node needs an edge from a collection.",
            )
            return
        (edge,) = into
        collection = self.output_type(edge)
        if not collection.is_list:
            yield edge.problem("type_mismatch", f"{collection.name} is no collection.")
            return
        item_types = [self.catalogue.parts(collection)[0]]
        if self.nodes[edge.source].type == "collect":
            root = self._common_type(items[edge.source])
            if root is None:
                yield edge.problem("missing_edge", "The collect node before it collects nothing.")
                return
            item_types.append(root)
        for out in self.out_of(node, ITEM):
            wanted = self.input_type(out)
            for item in item_types:
                if not item.connects(wanted):
                    yield out.problem(
                        "type_mismatch", f"The items are of type {item.name}, and {wanted.name} is wanted."
                    )
                    break

    def _of_collector(self, node: str, items: Mapping[str, set[Type]]) -> Iterator[GraphProblem]:
        if not self.into(node, ITEM) and not self.into(node, COLLECTION):
            yield GraphProblem(
                ("nodes", node, ITEM), "missing_edge", "A collect node needs an edge to item or collection."
            )
            return
        for edge in self.into(node, COLLECTION):
            given = self.output_type(edge)
            if not (self._has_list(given) or self.catalogue.is_any(given)):
                yield edge.problem("type_mismatch", f"{given.name} is no collection.")
                return
        for edge in self.into(node, ITEM):
            if self.output_type(edge).is_literal:
                yield edge.problem("type_mismatch", "Such a value cannot be collected.")
                return
        roots = self._roots(items[node] - {self.catalogue.any})
        if len(roots) > 1:
            names = ", ".join(sorted(root.name for root in roots))
            yield GraphProblem(("nodes", node, ITEM), "type_mismatch", f"It collects unlike things: {names}.")
            return
        root = next(iter(roots), None)
        for edge in self.out_of(node, COLLECTION):
            wanted = self.input_type(edge)
            if not self._takes_collection_of(root, wanted) or not self._suits_next_collector(
                edge, root, items
            ):
                collected = root.name if root else "nothing known"
                yield edge.problem(
                    "type_mismatch", f"The collection is of {collected}, and {wanted.name} is wanted."
                )

    def _types_collected(self) -> dict[str, set[Type]]:
        """What each collect node may be given, by its edges and by the collect nodes before it."""
        collected: dict[str, set[Type]] = {}
        for node in self.in_order():
            if self.nodes[node].type != "collect":
                continue
            types: set[Type] = set()
            for edge in self.into(node, ITEM):
                given = self.output_type(edge)
                types.update(self.catalogue.parts(given) if given.is_generic else [given])
            for edge in self.into(node, COLLECTION):
                if self.nodes[edge.source].type == "collect":
                    types |= collected[edge.source]
                else:
                    types |= self._items_of(self.output_type(edge))
            collected[node] = types - {self.catalogue.none}
        return collected

    def _items_of(self, collection: Type) -> set[Type]:
        if self.catalogue.is_any(collection):
            return {self.catalogue.any}
        parts = self.catalogue.parts(collection)
        if collection.is_list:
            return set(parts)
        items: set[Type] = set()
        for part in parts:
            if self.catalogue.is_any(part):
                items.add(self.catalogue.any)
            elif part.is_list:
                items.update(self.catalogue.parts(part))
        return items

    def _common_type(self, types: set[Type]) -> Type | None:
        known = types - {self.catalogue.any}
        if not known:
            return self.catalogue.any if types else None
        roots = self._roots(known)
        return next(iter(roots)) if len(roots) == 1 else self.catalogue.any

    def _roots(self, types: set[Type]) -> set[Type]:
        """Those types that are no subclass of another one."""
        return {one for one in types if not any(one.is_subclass_of(other) for other in types - {one})}

    def _has_list(self, annotation: Type) -> bool:
        return annotation.is_list or any(part.is_list for part in self.catalogue.parts(annotation))

    def _takes_collection_of(self, root: Type | None, wanted: Type) -> bool:
        if self.catalogue.is_any(wanted):
            return True
        if root is None or not self._has_list(wanted):
            return False
        # InvokeAI looks at the first part: of list[X] that is X, of X | list[X] as well.
        first = self.catalogue.parts(wanted)[0]
        parts = root.parts or (root.number,)
        return set(parts) <= set(first.parts) or root.is_subclass_of(first)

    def _suits_next_collector(self, edge: Edge, root: Type | None, items: Mapping[str, set[Type]]) -> bool:
        if self.nodes[edge.destination].type != "collect" or edge.input != COLLECTION:
            return True
        wanted = self._common_type(items[edge.destination])
        if wanted is None:
            return True
        if root is None:
            return wanted is self.catalogue.any
        return root.connects(wanted)
