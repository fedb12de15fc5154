"""Pipelines: the ways to make pictures, described so that a program can build a form for them."""
