"""The three servers together: what `impastoctl up` and the tests start."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol, Self, TypeVar

from impasto_ctl.embedded.ministack import REGION, Bucket, Ministack, Sqs
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

    Where `IMPASTO_DATABASE_URL`, `IMPASTO_REDIS_URL`, `IMPASTO_S3_ENDPOINT_URL` or `IMPASTO_SQS_ENDPOINT_URL`
    is set in `environ`, that server is used and none is started in its place. What is started listens on a
    free port of 127.0.0.1. `durable=False` is for tests: faster, and nothing is promised to survive.

    `database_url` is that of the owner, who may create roles and databases but is no superuser. `sqs` is
    there if `with_sqs`.
    """

    database_url: str
    redis_url: str
    bucket: Bucket
    sqs: Sqs | None = None

    def __init__(
        self,
        state_dir: Path,
        *,
        with_sqs: bool = False,
        durable: bool = True,
        environ: Mapping[str, str] = os.environ,
        report: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.state = StateDirectory(state_dir)
        self._with_sqs = with_sqs
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

        name = self._environ.get("IMPASTO_S3_BUCKET") or "impasto"
        needs_s3 = not self._environ.get("IMPASTO_S3_ENDPOINT_URL")
        needs_sqs = self._with_sqs and not self._environ.get("IMPASTO_SQS_ENDPOINT_URL")
        ministack = None
        if needs_s3 or needs_sqs:
            ministack = self._begin(Ministack(self.state, durable=self._durable, bucket=name))

        # Last, since its first start takes a second that the others can use.
        database_url = self._environ.get("IMPASTO_DATABASE_URL")
        self.database_url = database_url or self._begin(Postgres(self.state, durable=self._durable)).url

        for server in self._servers:
            server.wait_until_ready()
            self._report(f"{server.child.name} is ready")
        self.bucket = ministack.bucket if ministack and needs_s3 else self._given_bucket(name)
        if self._with_sqs:
            self.sqs = ministack.sqs if ministack and needs_sqs else self._given_sqs()

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

    def _given_sqs(self) -> Sqs:
        return Sqs(
            region=self._environ.get("IMPASTO_SQS_REGION") or REGION,
            endpoint_url=self._environ["IMPASTO_SQS_ENDPOINT_URL"],
            access_key_id=self._environ.get("IMPASTO_SQS_ACCESS_KEY_ID"),
            secret_access_key=self._environ.get("IMPASTO_SQS_SECRET_ACCESS_KEY"),
        )
