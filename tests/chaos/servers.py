"""PostgreSQL, Valkey and S3, each behind a proxy, and started again when they were killed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from anyio.from_thread import BlockingPortal
from sqlalchemy import make_url

from impasto_ctl.embedded.ministack import Ministack
from impasto_ctl.embedded.postgres import Postgres
from impasto_ctl.embedded.valkey import Valkey
from impasto_ctl.process import stop_together
from impasto_ctl.state import StateDirectory
from tests.support.proxy import Proxy

RESTART_SECONDS = 1.0
"""Between the end of a server and the start of the next: a quick orchestrator."""


class Servers:
    """PostgreSQL keeps its promises (fsync and all, as under `impastoctl up`), Valkey forgets everything."""

    def __init__(self, folder: Path, portal: BlockingPortal) -> None:
        state = StateDirectory(folder)
        self._portal = portal
        self.postgres = Postgres(state, durable=True)
        self.valkey = Valkey(state, durable=False)
        self.ministack = Ministack(state, durable=False, bucket="impasto")
        self._by_name: dict[str, Postgres | Valkey] = {"postgres": self.postgres, "valkey": self.valkey}
        self._restart_at: dict[str, float] = {}
        self.proxies: dict[str, Proxy] = {}

    def __enter__(self) -> Self:
        servers = (self.valkey, self.ministack, self.postgres)
        with ExitStack() as undo:
            for server in servers:
                server.start()
                undo.callback(lambda server=server: stop_together([server.child]))
            for server in servers:
                server.wait_until_ready()
            self._proxy("postgres", lambda: _port(self.postgres.url), undo)
            self._proxy("valkey", lambda: _port(self.valkey.url), undo)
            self._proxy("s3", lambda: _port(self.ministack.bucket.endpoint_url), undo)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._undo.close()

    def _proxy(self, name: str, upstream: Callable[[], int], undo: ExitStack) -> None:
        proxy = self._portal.call(Proxy, upstream)
        self._portal.call(proxy.open)
        undo.callback(self._portal.call, proxy.close)
        self.proxies[name] = proxy

    def through_proxies(self) -> dict[str, str]:
        """As an environment tells the platform where its servers are."""
        bucket = self.ministack.bucket
        return {
            "IMPASTO_DATABASE_URL": self.proxied("postgres", self.postgres.url),
            "IMPASTO_REDIS_URL": self.proxied("valkey", self.valkey.url),
            "IMPASTO_S3_ENDPOINT_URL": f"http://127.0.0.1:{self.proxies['s3'].port}",
            "IMPASTO_S3_REGION": bucket.region,
            "IMPASTO_S3_BUCKET": bucket.name,
            "IMPASTO_S3_ACCESS_KEY_ID": bucket.access_key_id or "",
            "IMPASTO_S3_SECRET_ACCESS_KEY": bucket.secret_access_key or "",
        }

    def proxied(self, name: str, url: str) -> str:
        return make_url(url).set(port=self.proxies[name].port).render_as_string(hide_password=False)

    def pid(self, name: str) -> int | None:
        """The process, if it runs."""
        child = self._by_name[name].child
        return child.pid if child.exit_code is None else None

    def backend(self) -> int | None:
        """Some process that serves one of PostgreSQL's sessions."""
        return next((pid for pid in descendants(self.postgres.child.pid) if _serves_a_session(pid)), None)

    def tend(self) -> None:
        """Start again what has ended a while ago."""
        for name, server in self._by_name.items():
            if server.child.exit_code is None:
                self._restart_at.pop(name, None)
            elif time.monotonic() >= self._restart_at.setdefault(name, time.monotonic() + RESTART_SECONDS):
                server.start()


def descendants(pid: int) -> list[int]:
    """The processes that it has started, and those that they have."""
    children = _children(pid)
    return children + [further for child in children for further in descendants(child)]


def pause(pid: int, seconds: float) -> subprocess.Popen[bytes]:
    """Stop the process and its children for a while.

    A process of its own does it, and outlives us if need be: nothing stays stopped for good.
    """
    pids = " ".join(map(str, (pid, *descendants(pid))))
    script = f"kill -STOP {pids}; sleep {seconds}; kill -CONT {pids}"
    return subprocess.Popen(["/bin/sh", "-c", script], start_new_session=True, stderr=subprocess.DEVNULL)  # noqa: S603


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _serves_a_session(pid: int) -> bool:
    """PostgreSQL writes what a process does where its command line was: `postgres: role database address`."""
    try:
        return b"127.0.0.1(" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _port(url: str) -> int:
    port = make_url(url).port
    assert port is not None
    return port
