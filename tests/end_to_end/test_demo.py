"""What `nox -s demo` runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from PIL import Image

from tests.end_to_end.conftest import ROOT, run


def test_one_command_starts_everything_paints_a_picture_and_stops(up: list[str], tmp_path: Path) -> None:
    output = run([*up, "--", sys.executable, str(ROOT / "examples/quickstart.py")], tmp_path)
    assert re.search(r"job +job_[0-9a-z]{26}", output), output
    assert re.search(r"queued +\d+\.\d+ s\nrunning +\d+\.\d+ s", output), output
    quote = re.search(r"quote +(\d+) of \d+ credits", output)
    cost = re.search(r"cost +(\d+) of (\d+) credits quoted", output)
    assert quote, output
    assert cost, output
    assert 1 <= int(cost[1]) <= int(cost[2]) == int(quote[1])
    saved = re.search(r"saved +(.+\.png)", output)
    assert saved, output
    with Image.open(saved[1]) as picture:
        picture.load()
        assert picture.format == "PNG"
