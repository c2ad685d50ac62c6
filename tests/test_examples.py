"""The examples run, and show what they are to show."""

import re
import runpy
import sys
from pathlib import Path

import pytest

from vbench_ctl import rows

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run an example with a folder of its own and return what it prints."""

    def running(name: str) -> str:
        path = EXAMPLES / f"{name}.py"
        monkeypatch.setattr(sys, "argv", [str(path), str(tmp_path)])
        runpy.run_path(str(path), run_name="__main__")
        return capsys.readouterr().out

    return running


def test_all_examples_are_run_and_short():
    scripts = {path.stem: path.read_text("utf-8") for path in EXAMPLES.glob("*.py")}
    assert all(f'run("{name}")' in Path(__file__).read_text("utf-8") for name in scripts)
    assert max(text.count("\n") for text in scripts.values()) <= 65


def test_scoring_in_a_training_loop(run, tmp_path):
    said = run("score_in_training_loop")
    first, *_, last = (float(value) for value in re.findall(r"psnr ([\d.]+)", said))
    assert last > first and said.splitlines()[-1].startswith("psnr|default|-|7f|8x1|")
    assert {row.metric for row in rows.load(tmp_path / "rows.json")} == {"psnr", "ssim", "flicker"}


def test_a_model_of_ones_own_beats_standing_still(run):
    said = run("your_model")
    lines = [line.split(" | ") for line in said.splitlines() if line.startswith(("| slide", "| copy"))]
    scores = {cells[0].strip("| "): float(cells[2].split()[0]) for cells in lines}  # ssim
    assert scores["slide"] > scores["copy-last"]


def test_the_control_suite_tells_who_obeys(run):
    said = run("control_suite")
    action = dict(re.findall(r"^(truth|shuffled-control) +action +([\d.]+)", said, re.MULTILINE))
    assert float(action["truth"]) > 0.9 > float(action["shuffled-control"])
    assert said.rstrip().endswith("the sanity rows stand in order")
