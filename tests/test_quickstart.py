import csv

import pytest
from click.testing import CliRunner
from PIL import Image

from vbench_ctl import generation, protocols, quickstart, recipes, registry, rows
from vbench_ctl.cli import main


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quickstart")
    load = recipes.load
    with pytest.MonkeyPatch.context() as patch:  # to see that it is trained, two steps will do
        patch.setattr(recipes, "load", lambda *words: load(*words, sets=["training.steps=2", "training.workers=0"]))
        result = CliRunner().invoke(main, ["quickstart", "--out", str(folder), "--workers", "1"])
        assert result.exit_code == 0, result.output
        yield folder, result


def names() -> list[str]:
    """Everything that the quickstart shows: what needs no training, and what is trained."""
    untrained = [n for n in registry.names("baselines") if not generation.is_trained(registry.load("baselines", n))]
    trained = quickstart.learners(protocols.load(quickstart.PROTOCOL))
    assert "glass" in trained
    return sorted([*untrained, *trained])


def test_it_prints_the_table_and_what_to_do_next(finished):
    _folder, result = finished
    assert f"### {quickstart.PROTOCOL}" in result.stdout and "Next:" in result.stdout
    assert "1/5" in result.stderr and "1/5" not in result.stdout
    for name in names():
        assert f"| {name} |" in result.stdout


def test_it_writes_tables_rows_and_pictures(finished):
    folder, _ = finished
    with open(folder / "leaderboard.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    baselines = names()
    assert {line["model"] for line in lines} == set(baselines)
    assert (folder / "leaderboard.md").read_text().startswith(f"### {quickstart.PROTOCOL}")
    for name in baselines:
        (path,) = (folder / "rows" / quickstart.PROTOCOL).glob(f"{name}.json")
        scores = {row.metric: row for row in rows.load(path)}
        lpips = scores.pop("lpips")
        assert lpips.value is None and "vbench-ctl weights fetch lpips-alex" in lpips.note
        assert all(row.low <= row.value <= row.high and row.n == 32 for row in scores.values())
    with Image.open(folder / "contact-sheet.png") as sheet:
        assert sheet.height > 96 * (1 + len(baselines))
    with Image.open(folder / "contact-sheet.gif") as gif:
        assert gif.n_frames == protocols.load(quickstart.PROTOCOL).length


def test_the_sanity_rows_stand_where_they_must(finished):
    folder, _ = finished
    value = {
        (row.model, row.metric): row.value
        for path in (folder / "rows" / quickstart.PROTOCOL).glob("*.json")
        for row in rows.load(path)
    }
    assert value["copy-last", "psnr"] > value["real", "psnr"] > value["noise", "psnr"]
    assert value["copy-last", "flicker"] == 0 < value["real", "flicker"] < value["noise", "flicker"]
    assert value["noise", "ssim"] < 0.05 < value["shuffled-control", "ssim"] < value["copy-last", "ssim"]


def test_a_second_run_makes_nothing_anew(finished, monkeypatch):
    folder, _ = finished
    monkeypatch.setattr(generation.video, "write", None)  # would fail if it were called
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.suffix in (".h5", ".mkv")}
    table = (folder / "leaderboard.csv").read_bytes()
    quickstart.run(folder, say=lambda text: None)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (folder / "leaderboard.csv").read_bytes() == table
