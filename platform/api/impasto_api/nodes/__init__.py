"""Nodes: what graphs are made of."""
