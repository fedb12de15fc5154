"""The state directory: everything that survives from one `impastoctl up` to the next.

secrets.json   passwords, keys and the pepper, generated once, mode 0600
ports.json     the ports used last time, used again where they are still free
logs/          one file a process; the run before is kept as *.previous.log
lock           held while an impastoctl runs here
<server>/      the data of one embedded server
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from impasto_ctl.errors import ControlError, StateDirectoryInUse


class StateDirectory:
    """Creates the directory where it is missing, readable by its owner only."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        try:
            if not self.path.is_dir():
                self.path.mkdir(mode=0o700, parents=True)
                # Keeps the secrets out of whatever repository the directory lies in.
                (self.path / ".gitignore").write_text("*\n")
            self.folder("logs")
        except OSError as error:
            raise ControlError(f"Cannot use {self.path} as state directory: {error}") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the directory for this process.

        The kernel lets go when the process ends, however it ends. Raises StateDirectoryInUse at once when
        another process holds it.
        """
        file = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not _try_lock(file):
                holder = os.read(file, 20).decode() or "unknown"
                raise StateDirectoryInUse(
                    f"Impasto already runs on {self.path} (process {holder})."
                    " Stop it first, or choose another directory with --state-dir."
                )
            os.truncate(file, 0)
            os.write(file, str(os.getpid()).encode())
            yield
        finally:
            os.close(file)

    def folder(self, name: str) -> Path:
        path = self.path / name
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def new_log(self, name: str) -> Path:
        """An empty log file; the last run's is kept beside it."""
        log = self.path / "logs" / f"{name}.log"
        if log.exists():
            log.replace(log.with_suffix(".previous.log"))
        return log

    def secret(self, name: str) -> str:
        """The remembered secret of that name, generated on first use."""
        known = self.recall(name)
        if known is None:
            known = secrets.token_hex(24)
            self.remember(**{name: known})
        return known

    def recall(self, name: str) -> str | None:
        known: str | None = self._read("secrets.json").get(name)
        return known

    def remember(self, **values: str) -> None:
        self._write("secrets.json", self._read("secrets.json") | values)

    def port(self, name: str) -> int:
        """A free port of 127.0.0.1: the one `name` had last time unless something else took it meanwhile.

        Ask once the last run is over, or its own listener is in the way.
        """
        ports = self._read("ports.json")
        if name not in ports or not _is_free(ports[name]):
            ports[name] = _free_port()
            self._write("ports.json", ports)
        return int(ports[name])

    def _read(self, name: str) -> dict[str, Any]:
        try:
            content: dict[str, Any] = json.loads((self.path / name).read_text())
        except FileNotFoundError:
            return {}
        return content

    def _write(self, name: str, content: dict[str, Any]) -> None:
        write_private(self.path / name, json.dumps(content, indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Replaces `path` in one step by a file that only its owner can read."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    temporary.replace(path)


@contextmanager
def lock_for_child(folder: Path, server: str, within: float = 15) -> Iterator[int]:
    """Locks a server's data folder; yields the descriptor that its process must inherit.

    A lock belongs to the open file, so it lasts until the server and all its own children are gone, even
    where the impastoctl that started them was killed. Whoever gets it may trust that nothing else uses the
    data. Waits `within` seconds for a predecessor that is still shutting down.
    """
    file = os.open(folder / "running.lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + within
    try:
        while not _try_lock(file):
            if time.monotonic() > deadline:
                raise ControlError(f"The {server} of an earlier run still uses {folder} and does not end.")
            time.sleep(0.02)
        yield file
    finally:
        os.close(file)


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: lingering connections of the last run are no obstacle, a listener is.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
