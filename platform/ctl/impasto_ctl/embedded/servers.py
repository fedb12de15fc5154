"""The three servers together: what `impastoctl up` and the tests start."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol, Self, TypeVar

from impasto_ctl.embedded.ministack import REGION, Bucket, Ministack
from impasto_ctl.embedded.postgres import Postgres
from impasto_ctl.embedded.valkey import Valkey
from impasto_ctl.process import Child, describe_exit, stop_together
from impasto_ctl.state import StateDirectory


class _Server(Protocol):
    """`start` does not wait, so that the servers start side by side; `wait_until_ready` finishes the work."""

    child: Child

    def start(self) -> None: ...
    def wait_until_ready(self) -> None: ...


_AnyServer = TypeVar("_AnyServer", bound=_Server)


class EmbeddedServers:
    """Starts on entry, stops on exit, and holds the state directory meanwhile.

    Where `IMPASTO_DATABASE_URL`, `IMPASTO_REDIS_URL` or `IMPASTO_S3_ENDPOINT_URL` is set in `environ`, that
    server is used and none is started in its place. What is started listens on a free port of 127.0.0.1.
    `durable=False` is for tests: faster, and nothing is promised to survive.

    `database_url` is that of the owner, who may create roles and databases but is no superuser.
    """

    database_url: str
    redis_url: str
    bucket: Bucket

    def __init__(
        self,
        state_dir: Path,
        *,
        durable: bool = True,
        environ: Mapping[str, str] = os.environ,
        report: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.state = StateDirectory(state_dir)
        self._durable = durable
        self._environ = environ
        self._report = report
        self._servers: list[_Server] = []

    @property
    def children(self) -> list[Child]:
        """The processes started: none where every server was given."""
        return [server.child for server in self._servers]

    def check(self) -> None:
        """Raises ChildFailed when a server has ended."""
        for child in self.children:
            if child.exit_code is not None:
                raise child.failure(f"ended with {describe_exit(child.exit_code)}")

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.enter_context(self.state.locked())
            undo.callback(lambda: stop_together(self.children))
            self._start()
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._undo.close()

    def _start(self) -> None:
        redis_url = self._environ.get("IMPASTO_REDIS_URL")
        self.redis_url = redis_url or self._begin(Valkey(self.state, durable=self._durable)).url

        ministack = None
        name = self._environ.get("IMPASTO_S3_BUCKET") or "impasto"
        if not self._environ.get("IMPASTO_S3_ENDPOINT_URL"):
            ministack = self._begin(Ministack(self.state, durable=self._durable, bucket=name))

        # Last, since its first start takes a second that the others can use.
        database_url = self._environ.get("IMPASTO_DATABASE_URL")
        self.database_url = database_url or self._begin(Postgres(self.state, durable=self._durable)).url

        for server in self._servers:
            server.wait_until_ready()
            self._report(f"{server.child.name} is ready")
        self.bucket = ministack.bucket if ministack else self._given_bucket(name)

    def _begin(self, server: _AnyServer) -> _AnyServer:
        server.start()
        self._servers.append(server)
        return server

    def _given_bucket(self, name: str) -> Bucket:
        return Bucket(
            name=name,
            region=self._environ.get("IMPASTO_S3_REGION") or REGION,
            endpoint_url=self._environ["IMPASTO_S3_ENDPOINT_URL"],
            access_key_id=self._environ.get("IMPASTO_S3_ACCESS_KEY_ID"),
            secret_access_key=self._environ.get("IMPASTO_S3_SECRET_ACCESS_KEY"),
        )
