"""The platform's own processes, each with an environment of its own and the password of one database role."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from impasto_core.database import Role
from impasto_ctl.embedded import EmbeddedServers
from impasto_ctl.state import StateDirectory
from impasto_ctl.supervisor import Program


@dataclass(frozen=True)
class ApiAddress:
    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


def platform_programs(
    servers: EmbeddedServers,
    database_urls: Mapping[Role, str],
    *,
    api: ApiAddress,
    pepper: str,
    worker_python: Path,
) -> list[Program]:
    """API, worker, sweeper and dispatcher. What the caller's environment says of anything else reaches them
    unchanged.
    """
    state = servers.state
    shared = (
        {
            "IMPASTO_LOG_FORMAT": "text",  # a person reads these logs, unless they say otherwise
            "IMPASTO_WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8,::1/128",  # and runs a receiver beside us
        }
        | {name: value for name, value in os.environ.items() if name != "IMPASTO_API_KEY_PEPPER"}
        | {"PYTHONUNBUFFERED": "1", "IMPASTO_REDIS_URL": servers.redis_url}
        | _storage(servers)
        | _broker(servers)
    )
    as_worker = shared | {"IMPASTO_DATABASE_URL": database_urls[Role.WORKER]}
    ready_file = state.path / "worker.ready"
    return [
        Program(
            "api",
            [sys.executable, "-m", "impasto_api.server"],
            shared
            | {
                "IMPASTO_DATABASE_URL": database_urls[Role.API],
                "IMPASTO_API_KEY_PEPPER": pepper,
                "IMPASTO_API_HOST": api.host,
                "IMPASTO_API_PORT": str(api.port),
                **_metrics(state, "api"),
            },
            ready_url=f"{api.url}/readyz",
        ),
        Program(
            "worker",
            [worker_python, "-m", "impasto_workers.main"],
            {"IMPASTO_WORKER_GRACE_SECONDS": "2"}  # Ctrl-C should not wait for a picture.
            | as_worker
            | {
                "IMPASTO_WORKER_READY_FILE": str(ready_file),
                "IMPASTO_WORKER_DATA_DIR": str(state.folder("worker")),
                **_metrics(state, "worker"),
            },
            ready_file=ready_file,
            ready_within=300,  # On a slow disk, torch and InvokeAI take minutes the first time.
        ),
        Program(
            "sweeper",
            [sys.executable, "-m", "impasto_workers.sweeper"],
            as_worker
            | {"IMPASTO_PAYMENTS_DATABASE_URL": database_urls[Role.PAYMENTS]}
            | _metrics(state, "sweeper"),
        ),
        Program(
            "webhooks",
            [sys.executable, "-m", "impasto_workers.webhooks.main"],
            shared | {"IMPASTO_DATABASE_URL": database_urls[Role.WEBHOOKS]} | _metrics(state, "webhooks"),
        ),
    ]


def _metrics(state: StateDirectory, program: str) -> dict[str, str]:
    """Each process has a port of its own, whatever the caller's environment says: it cannot fit all."""
    return {"IMPASTO_METRICS_PORT": str(state.port(f"{program}-metrics"))}


def _storage(servers: EmbeddedServers) -> dict[str, str]:
    bucket = servers.bucket
    return _known(
        IMPASTO_S3_ENDPOINT_URL=bucket.endpoint_url,
        IMPASTO_S3_REGION=bucket.region,
        IMPASTO_S3_BUCKET=bucket.name,
        IMPASTO_S3_ACCESS_KEY_ID=bucket.access_key_id,
        IMPASTO_S3_SECRET_ACCESS_KEY=bucket.secret_access_key,
    )


def _broker(servers: EmbeddedServers) -> dict[str, str]:
    sqs = servers.sqs
    if sqs is None:
        return {"IMPASTO_BROKER": "redis"}
    return _known(
        IMPASTO_BROKER="sqs",
        IMPASTO_SQS_ENDPOINT_URL=sqs.endpoint_url,
        IMPASTO_SQS_REGION=sqs.region,
        IMPASTO_SQS_ACCESS_KEY_ID=sqs.access_key_id,
        IMPASTO_SQS_SECRET_ACCESS_KEY=sqs.secret_access_key,
    )


def _known(**settings: str | None) -> dict[str, str]:
    return {name: value for name, value in settings.items() if value is not None}
