"""Workflows: graphs saved under a name, with typed input."""
