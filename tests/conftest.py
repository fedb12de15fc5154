"""Fixtures for every test: real servers, started once a run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from impasto_ctl.embedded import EmbeddedServers


@pytest.fixture(scope="session")
def servers() -> Iterator[EmbeddedServers]:
    """PostgreSQL, Valkey and S3: those that `IMPASTO_*_URL` point at, or else embedded ones."""
    with (
        tempfile.TemporaryDirectory(prefix="impasto-tests-") as folder,
        EmbeddedServers(Path(folder), durable=False) as servers,
    ):
        yield servers
