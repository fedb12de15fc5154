"""Logging of the worker and the sweeper: to stderr, one line a record."""

from __future__ import annotations

import logging


def configure_logging(level: str) -> None:
    logging.basicConfig(
        level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    # Their INFO is our DEBUG.
    for name in ("botocore", "boto3", "s3transfer", "dramatiq", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)
