"""Tests that hold whichever broker carries the wake-ups."""

from __future__ import annotations

import pytest

both_brokers = pytest.mark.parametrize("broker", ["redis", "sqs"], indirect=True)
"""Runs a test that uses `settings` once with each."""


def elsewhere(port: int) -> dict[str, str]:
    """Changes to settings that move Redis and SQS to that port."""
    address = f"127.0.0.1:{port}"
    return {"redis_url": f"redis://{address}/0", "sqs_endpoint_url": f"http://{address}"}
