"""The state directory: what survives from one `impastoctl up` to the next."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from impasto_ctl.errors import ControlError
from impasto_ctl.state import StateDirectory


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    secret = StateDirectory(tmp_path).secret("pepper")
    assert len(secret) >= 40
    assert StateDirectory(tmp_path).secret("pepper") == secret
    assert StateDirectory(tmp_path).secret("password") != secret


def test_a_port_stays_the_same_until_somebody_else_takes_it(tmp_path: Path) -> None:
    port = StateDirectory(tmp_path).port("api")
    assert StateDirectory(tmp_path).port("api") == port
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", port))
        somebody.listen()
        another = StateDirectory(tmp_path).port("api")
        assert another != port
    assert StateDirectory(tmp_path).port("api") == another


def test_only_its_owner_can_look_into_it_and_git_leaves_it_alone(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "new")
    assert stat.S_IMODE(state.path.stat().st_mode) == 0o700
    assert (state.path / ".gitignore").read_text() == "*\n"


def test_a_directory_that_was_there_before_is_not_hidden_from_git(tmp_path: Path) -> None:
    StateDirectory(tmp_path)
    assert not (tmp_path / ".gitignore").exists()


def test_the_log_of_the_last_run_is_kept(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    state.new_log("api").write_text("first")
    assert not state.new_log("api").exists()
    assert (tmp_path / "logs/api.previous.log").read_text() == "first"


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ControlError, match=f"Cannot use {tmp_path}/file as state directory"):
        StateDirectory(tmp_path / "file")
