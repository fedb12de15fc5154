"""The `impasto` command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import impasto
from impasto._cli import main
from tests.sdk import samples
from tests.sdk.samples import QUEUED, STEP, final
from tests.sdk.scripted_server import Answer, ScriptedServer, answer, problem, stream


@pytest.fixture(autouse=True)
def environment(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPASTO_API_KEY", "imp_test_key")
    monkeypatch.setenv("IMPASTO_BASE_URL", server.url)


def paints(server: ScriptedServer, count: int = 1) -> None:
    images = [samples.image(f"{server.url}/{index}.png", id=f"img_{index}") for index in range(count)]
    server.will(answer(202, samples.job()), stream(QUEUED, STEP, final(images=images)))
    server.will(*[Answer(200, b"png")] * count)


def test_generate_saves_the_picture_and_prints_its_path(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paints(server)
    target = tmp_path / "heart.png"
    options = ["-o", str(target), "--steps", "3", "--guidance", "4.5", "--negative-prompt", "blue"]
    assert main(["generate", "a big red heart", *options]) == 0
    assert target.read_bytes() == b"png"
    shown = capsys.readouterr()
    assert shown.out == f"{target}\n"
    assert "running 50%" in shown.err
    assert server.received[0].json == {
        "pipeline": "text-to-image",
        "input": {"prompt": "a big red heart", "negative_prompt": "blue", "steps": 3, "guidance": 4.5},
    }


def test_several_pictures_are_numbered_or_named_by_their_ids(
    server: ScriptedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paints(server, 2)
    assert main(["generate", "x", "-n", "2", "-q", "-o", str(tmp_path / "x.png")]) == 0
    paints(server, 2)
    assert main(["generate", "x", "-n", "2", "-q", "-o", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"x-1.png", "x-2.png", "img_0.png", "img_1.png"}
    assert capsys.readouterr().err == ""


def test_a_picture_to_start_from_is_a_file_or_an_id(server: ScriptedServer, tmp_path: Path) -> None:
    sketch = tmp_path / "sketch.png"
    sketch.write_bytes(b"\x89PNG\r\n\x1a\n")
    server.will(answer(201, samples.upload(f"{server.url}/bucket")), Answer(200))
    for source, expected in [(str(sketch), samples.UPLOAD_ID), (samples.IMAGE_ID, samples.IMAGE_ID)]:
        paints(server)
        assert main(["generate", "x", "--init-image", source, "--strength", "0.5", "-o", str(tmp_path)]) == 0
        created = next(request for request in server.received if request.path == "/v1/jobs")
        assert created.json["pipeline"] == "image-to-image"
        assert created.json["input"] == {"prompt": "x", "strength": 0.5, "init_image": expected}
        server.received.clear()


def test_ctrl_c_cancels_the_job(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("impasto._follow._hear", interrupt)
    server.will(answer(202, samples.job()), answer(200, samples.job("canceled")))
    assert main(["generate", "x"]) == 130
    assert server.received[1].path == f"/v1/jobs/{samples.JOB_ID}/cancel"
    assert f"canceled {samples.JOB_ID}" in capsys.readouterr().err


def test_lists_are_tables(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.will(answer(200, samples.page(samples.job(), samples.job("succeeded"), next_cursor="abc")))
    assert main(["jobs", "list", "--limit", "2"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "id                              status     pipeline       model         created_at",
        f"{samples.JOB_ID}  queued     text-to-image  impasto-tiny  2026-01-01 00:00:00+00:00",
        f"{samples.JOB_ID}  succeeded  text-to-image  impasto-tiny  2026-01-01 00:00:00+00:00",
    ]
    server.will(answer(200, samples.page(samples.api_key())))
    assert main(["api-keys", "list"]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("-")


def test_one_thing_is_json(server: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.will(answer(200, samples.job("canceled")))
    assert main(["jobs", "cancel", samples.JOB_ID]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "canceled"
    server.will(answer(204))
    assert main(["images", "delete", samples.IMAGE_ID]) == 0
    assert capsys.readouterr().out == ""


def test_errors_are_told_without_a_traceback(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.will(problem(404, "not-found"))
    assert main(["jobs", "get", "job_1"]) == 1
    assert capsys.readouterr().err.startswith("impasto: 404 not-found")
    assert main(["generate", "x", "--init-image", "/no/such/file"]) == 1
    assert "No such file" in capsys.readouterr().err
    monkeypatch.delenv("IMPASTO_API_KEY")
    assert main(["jobs", "list"]) == 1
    assert "IMPASTO_API_KEY" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["jobs"], ["paint"], ["generate"]])
def test_a_command_that_makes_no_sense_gets_the_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: impasto" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"impasto {impasto.__version__}\n"
