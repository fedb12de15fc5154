"""The demo model: small, whole, and the same everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workers.tiny_model import main, write_tiny_model


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_seed_writes_the_same_bytes(demo_model: Path, tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "again")
    write_tiny_model(tmp_path / "other", seed=1)

    assert contents(tmp_path / "again") == contents(demo_model)
    assert contents(tmp_path / "other") != contents(demo_model)


def test_it_is_a_few_megabytes_and_leaves_nothing_beside_it(demo_model: Path) -> None:
    assert sum(map(len, contents(demo_model).values())) < 8_000_000
    assert list(demo_model.parent.iterdir()) == [demo_model]


def test_the_command_leaves_an_existing_folder_as_it_is(
    demo_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["demo_model", str(tmp_path / "deep" / "demo")])
    main()
    assert contents(tmp_path / "deep" / "demo") == contents(demo_model)

    (tmp_path / "deep" / "demo" / "note.txt").write_text("mine")
    main()
    assert (tmp_path / "deep" / "demo" / "note.txt").read_text() == "mine"
