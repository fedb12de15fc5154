"""The platform's processes as an operator starts them, each with a log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from impasto_ctl.embedded import EmbeddedServers


class Program:
    """A module run as a process, with a log. Close it, if nothing ended it before."""

    def __init__(self, module: str, environ: dict[str, str], log: Path) -> None:
        self.log = log
        self._log_file = log.open("wb")
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", module], env=environ, stderr=self._log_file
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def records(self) -> list[dict[str, Any]]:
        """What it has logged, where that is JSON."""
        complete, _, _ = self.log.read_text().rpartition("\n")
        return [json.loads(line) for line in complete.splitlines()]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, within: float = 30) -> int:
        return self.process.wait(within)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log_file.close()


def environ_of(servers: EmbeddedServers, database_url: str) -> dict[str, str]:
    """What a process needs to find the servers. Nothing else of ours is inherited."""
    bucket = servers.bucket
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("IMPASTO_", "OTEL_"))
    }
    return inherited | {
        "IMPASTO_DATABASE_URL": database_url,
        "IMPASTO_REDIS_URL": servers.redis_url,
        "IMPASTO_S3_ENDPOINT_URL": bucket.endpoint_url,
        "IMPASTO_S3_REGION": bucket.region,
        "IMPASTO_S3_BUCKET": bucket.name,
        "IMPASTO_S3_ACCESS_KEY_ID": bucket.access_key_id or "",
        "IMPASTO_S3_SECRET_ACCESS_KEY": bucket.secret_access_key or "",
    }
