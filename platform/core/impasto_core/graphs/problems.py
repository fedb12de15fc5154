"""What is wrong with a graph, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MAX_PROBLEMS = 20


@dataclass(frozen=True)
class GraphProblem:
    """`path` leads from the graph to the value: ("nodes", "denoise", "steps"). `code` is for programs."""

    path: tuple[str, ...]
    code: str
    detail: str


class InvalidGraph(ValueError):
    """The graph cannot be run as it is: `problems` are the first of them, at least one."""

    def __init__(self, problems: Sequence[GraphProblem]) -> None:
        super().__init__("; ".join(f"{'/'.join(p.path)}: {p.detail}" for p in problems[:3]))
        self.problems = list(problems[:MAX_PROBLEMS])
