"""The ready-made bar."""

from __future__ import annotations

import io

import pytest

from impasto import Progress, ProgressBar

QUEUED = Progress("job_1")
RUNNING = Progress("job_1", "running")
STEPS = [Progress("job_1", "running", step / 8, step, 8) for step in range(1, 9)]
DONE = Progress("job_1", "succeeded", 1.0, 8, 8)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def draw(file: io.StringIO, *progress: Progress) -> str:
    hands = iter(range(100))
    bar = ProgressBar(file, monotonic=lambda: next(hands) / 2)
    for each in progress:
        bar(each)
    bar.close()
    return file.getvalue()


def test_on_a_terminal_one_line_is_drawn_again_and_again() -> None:
    drawn = draw(Terminal(), QUEUED, RUNNING, *STEPS, DONE)
    assert drawn.count("\n") == 1
    lines = drawn.rstrip("\n").split("\r")[1:]
    assert lines[0] == f"queued    {'░' * 30}   0%  0.5 s"
    assert lines[5] == f"running   {'█' * 15}{'░' * 15}  50%  step 4/8  3.0 s"
    assert lines[-1] == f"succeeded {'█' * 30} 100%  step 8/8  5.5 s"


def test_a_job_that_waits_shows_its_place_and_for_how_long() -> None:
    drawn = draw(Terminal(), Progress("job_1", position=3), Progress("job_1", position=2, eta_seconds=12.4))
    first, second = drawn.rstrip("\n").split("\r")[1:]
    assert first == f"queued    {'░' * 30}   0%  place 3  0.5 s"
    assert second == f"queued    {'░' * 30}   0%  place 2, starts in 12 s  1.0 s"


def test_a_shorter_line_wipes_out_the_longer_one_before() -> None:
    drawn = draw(Terminal(), STEPS[0], RUNNING)
    first, second = drawn.rstrip("\n").split("\r")[1:]
    assert len(first) == len(second)


def test_elsewhere_each_stage_has_a_line() -> None:
    assert draw(io.StringIO(), QUEUED, RUNNING, *STEPS[:7], DONE).splitlines() == [
        "job_1 queued",
        "job_1 running 0%",
        "job_1 running 25%",
        "job_1 running 50%",
        "job_1 running 75%",
        "job_1 succeeded",
    ]


def test_a_terminal_that_cannot_draw_blocks_gets_ascii() -> None:
    class Old(Terminal):
        encoding = "ascii"

    assert draw(Old(), STEPS[3]).startswith(f"\rrunning   {'#' * 15}{'.' * 15}  50%")


def test_the_bar_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    ProgressBar()(DONE)
    assert capsys.readouterr().err == "job_1 succeeded\n"
