"""Callers' own InvokeAI graphs: what nodes there are, whether a graph is sound, and how much work it is.

Torch-free: InvokeAI's nodes come from a catalogue that `impastoctl catalogue export` makes.
"""

from impasto_core.graphs.problems import GraphProblem, InvalidGraph

__all__ = ["GraphProblem", "InvalidGraph"]
