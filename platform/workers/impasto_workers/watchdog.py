"""A worker's watchdog: a small process beside it, out of reach of what holds up the worker's interpreter.

Native code that does not let go of the GIL stops everything in Python: the lease is not renewed, no time
limit is noticed, no signal is handled. So the worker tells its watchdog all the time that it lives, and at
once which job it holds and until when. When it falls silent, the watchdog

- renews the lease in its stead, since a worker that loads a large model may be silent for a while,
- and when the job's time is up, kills the worker and brings the job to its end.

A worker that was stopped (SIGSTOP) is left alone: its lease runs out, and the job runs elsewhere. When the
worker ends, so does the watchdog. This module is the worker's side; `watchdog_process` is the other.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from uuid import UUID

from impasto_core.jobs.lifecycle import Lease
from impasto_workers.stop import StopReason
from impasto_workers.time_limits import Held

logger = logging.getLogger(__name__)


def beat_seconds(lease_seconds: float) -> float:
    """Between two signs of life."""
    return min(1.0, lease_seconds / 30)


class Watchdog:
    """Starts the process, and writes to its standard input. Belongs to the event loop."""

    def __init__(self, lease_seconds: float) -> None:
        self._beat_seconds = beat_seconds(lease_seconds)
        self._held: Held | None = None
        self._process = _start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def hold(self, held: Held | None) -> None:
        """What the worker has in hand from now on."""
        self._held = held
        self.beat()

    def beat(self) -> None:
        """Never waits: a beat that does not fit into the pipe is one that the watchdog can do without."""
        pipe = self._process.stdin
        assert pipe is not None, "as it was started"  # noqa: S101
        try:
            os.write(pipe.fileno(), encode(self._held))
        except BlockingIOError:
            pass
        except BrokenPipeError:
            logger.error("the watchdog has ended, starting another")
            self.close()
            self._process = _start()

    async def beat_forever(self) -> None:
        while True:
            self.beat()
            await asyncio.sleep(self._beat_seconds)

    def close(self) -> None:
        """Let it end."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()


def _start() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "impasto_workers.watchdog_process", str(os.getpid())]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0)  # noqa: S603
    assert process.stdin is not None, "it is a pipe"  # noqa: S101
    os.set_blocking(process.stdin.fileno(), False)
    return process


def encode(held: Held | None) -> bytes:
    """One line, far shorter than PIPE_BUF: it is written whole or not at all."""
    if held is None:
        return b"null\n"
    beat = [str(held.lease.job_id), held.lease.token, held.reason.name, held.ends_at]
    return json.dumps(beat).encode() + b"\n"


def decode(line: bytes) -> Held | None:
    beat = json.loads(line)
    if beat is None:
        return None
    job_id, token, reason, ends_at = beat
    return Held(Lease(UUID(job_id), token), StopReason[reason], ends_at)
