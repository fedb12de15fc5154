"""The API judges graphs without InvokeAI. Here both judge the same 5,000."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from impasto_core.graphs.catalogue import Catalogue, NodeType, Type, load
from impasto_core.graphs.validation import find_problems

if TYPE_CHECKING:
    from impasto_workers.runtime.runtime import Runtime

GRAPHS = 5_000
SPECIAL = ["iterate", "collect", "if"]


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load()


def test_the_committed_catalogue_is_what_the_installed_invokeai_exports(opened_runtime: Runtime) -> None:
    from impasto_core.graphs import catalogue
    from impasto_workers.runtime.catalogue import build

    committed = Path(catalogue.__file__).parent / catalogue.FILE

    assert build() == committed.read_bytes(), "run `impastoctl catalogue export`"


def test_both_give_the_same_verdict_on_random_graphs(opened_runtime: Runtime, catalogue: Catalogue) -> None:
    graphs = RandomGraphs(catalogue, seed=20261122)
    verdicts: Counter[bool] = Counter()
    special: Counter[bool] = Counter()
    for number in range(GRAPHS):
        graph = graphs.draw()
        problems = list(find_problems(graph, catalogue, only_allowed=False))
        of_edges = [problem for problem in problems if problem.code != "missing"]
        unfed = {problem.path[1:] for problem in problems if problem.code == "missing"}

        objection, needs = invokeai_says(graph)

        assert (not of_edges) == (objection is None), f"graph {number}: {of_edges} and {objection}: {graph}"
        assert unfed == needs, f"graph {number}: {graph}"
        verdicts[not of_edges] += 1
        special[not of_edges] += any(
            node["type"] in ("iterate", "collect") for node in graph["nodes"].values()
        )
    assert min(verdicts[True], verdicts[False], special[True], special[False]) > GRAPHS / 10, (
        f"a comparison of like cases says little: {verdicts}, {special}"
    )


def invokeai_says(graph: dict[str, Any]) -> tuple[Exception | None, set[tuple[str, str]]]:
    """What InvokeAI objects to in the edges, if anything, and the inputs that it would miss when it runs."""
    from invokeai.app.services.shared.graph import Graph

    needs: set[tuple[str, str]] = set()
    try:
        parsed = Graph.model_validate(graph)
        for name, node in parsed.nodes.items():
            needs |= {(name, field) for field in _required(node) if not _is_fed(graph, name, field)}
        parsed.validate_self()
        _check_inputs_are_fed_once(parsed)
    except Exception as error:  # its own errors, and TypeErrors of types that it cannot compare
        return error, needs
    return None, needs


def _check_inputs_are_fed_once(parsed: Any) -> None:
    """Only `add_edge` looks at this, by these two rules."""
    for edge in list(parsed.edges):
        parsed.delete_edge(edge)
        if edge in parsed.edges:
            raise ValueError("the edge is there twice")
        parsed._validate_edge_destination_uniqueness(edge, parsed.get_node(edge.destination.node_id))
        parsed._extend_edges_unchecked([edge])


def _required(node: Any) -> list[str]:
    """The rule of BaseInvocation.invoke_internal."""
    from pydantic_core import PydanticUndefined

    fields = []
    for name, info in type(node).model_fields.items():
        extra = info.json_schema_extra
        if not extra or callable(extra) or extra.get("input") not in ("connection", "any"):
            continue
        default = extra.get("orig_default", PydanticUndefined)
        if extra.get("orig_required", True) and default is PydanticUndefined and getattr(node, name) is None:
            fields.append(name)
    return fields


def _is_fed(graph: dict[str, Any], node: str, field: str) -> bool:
    return any(edge["destination"] == {"node_id": node, "field": field} for edge in graph["edges"])


def _can_be_made_of_nothing(node: NodeType) -> bool:
    """Some nodes must be given values at once; those say nothing about edges."""
    from invokeai.app.invocations.baseinvocation import InvocationRegistry
    from pydantic import ValidationError

    try:
        InvocationRegistry.get_invocation_for_type(node.type)(id="n")
    except (ValidationError, TypeError):  # a TypeError is what batches and generators raise
        return False
    return True


class RandomGraphs:
    """Graphs of nodes that mostly fit together, so that not all are refused, and of edges drawn anyhow."""

    def __init__(self, catalogue: Catalogue, seed: int) -> None:
        self._random = random.Random(seed)
        self._types = catalogue.types
        self._nodes = {node.type: node for node in catalogue if _can_be_made_of_nothing(node)}
        self._outputs = [
            (node.type, output.name, output.type)
            for node in self._nodes.values()
            for output in node.outputs.values()
            if node.type not in SPECIAL
        ]
        self._inputs = [
            (node.type, field.name, field.type)
            for node in self._nodes.values()
            for field in node.inputs.values()
            if field.name != "board" and node.type not in SPECIAL
        ]
        self._lists = [place for place in self._outputs if place[2].is_list]

    def draw(self) -> dict[str, Any]:
        self._graph: dict[str, Any] = {"nodes": {}, "edges": []}
        for _ in range(self._random.randint(1, 2)):
            self._random.choice([self._iterate, self._collect, self._if, self._pair, self._pair])()
        while self._random.random() < 0.2:
            self._any_edge()
        return self._graph

    def _add(self, kind: str) -> str:
        name = f"n{len(self._graph['nodes'])}"
        self._graph["nodes"][name] = {"id": name, "type": kind}
        return name

    def _connect(self, source: str, output: str, destination: str, field: str) -> None:
        ends = [{"node_id": source, "field": output}, {"node_id": destination, "field": field}]
        self._graph["edges"].append(dict(zip(("source", "destination"), ends, strict=True)))

    def _feed(self, source: str, output: str, given: Type | None) -> None:
        """Add a node that takes what the output gives, or perhaps does not."""
        fitting = [place for place in self._inputs if given is None or given.connects(place[2])]
        kind, field, _ = self._random.choice(
            fitting if fitting and self._random.random() < 0.8 else self._inputs
        )
        self._connect(source, output, self._add(kind), field)

    def _pair(self) -> None:
        kind, output, given = self._random.choice(self._outputs)
        self._feed(self._add(kind), output, given)

    def _if(self) -> None:
        choice = self._add("if")
        for field in ("true_input", "false_input"):
            kind, output, _ = self._random.choice(self._outputs)
            self._connect(self._add(kind), output, choice, field)
        self._feed(choice, "value", None)

    def _iterate(self) -> None:
        if self._random.random() < 0.3:
            source, output, given = self._collect(), "collection", None
        else:
            kind, output, given = self._random.choice(
                self._lists if self._random.random() < 0.9 else self._outputs
            )
            source = self._add(kind)
        iterate = self._add("iterate")
        if self._random.random() < 0.9:
            self._connect(source, output, iterate, "collection")
        item = self._types[given.parts[0]] if given is not None and given.is_list else None
        if self._random.random() < 0.7:
            self._feed(iterate, "item", item)
        if self._random.random() < 0.2:
            collect = self._add("collect")
            self._connect(iterate, "item", collect, "item")

    def _collect(self) -> str:
        collect = self._add("collect")
        kind, output, given = self._random.choice(self._outputs)
        alike = [place for place in self._outputs if place[2] is given or given.is_subclass_of(place[2])]
        for _ in range(self._random.randint(0, 3)):
            kind, output, _ = self._random.choice(alike if self._random.random() < 0.85 else self._outputs)
            self._connect(self._add(kind), output, collect, "item")
        if self._random.random() < 0.3:
            lists = [place for place in self._lists if place[2].parts[0] == given.number] or self._lists
            kind, output, _ = self._random.choice(lists)
            self._connect(self._add(kind), output, collect, "collection")
        if self._random.random() < 0.2:
            self._connect(collect, "collection", self._add("collect"), "collection")
        if self._random.random() < 0.5:
            takers = [
                place
                for place in self._inputs
                if any(part == given.number for kind in self._parts(place[2]) for part in kind.parts)
            ]
            kind, field, _ = self._random.choice(takers or self._inputs)
            self._connect(collect, "collection", self._add(kind), field)
        return collect

    def _parts(self, annotation: Type) -> list[Type]:
        return [annotation, *(self._types[number] for number in annotation.parts)]

    def _any_edge(self) -> None:
        """Between any two of the graph's nodes: a cycle, a second edge into an input, an unknown field."""
        names = list(self._graph["nodes"])
        source, destination = self._random.choice(names), self._random.choice(names)
        outputs = self._nodes[self._graph["nodes"][source]["type"]].outputs
        inputs = self._nodes[self._graph["nodes"][destination]["type"]].inputs.keys() - {"board"}
        self._connect(
            source,
            self._random.choice([*outputs, "nothing"]),
            destination,
            self._random.choice([*sorted(inputs), "nothing"]),
        )
