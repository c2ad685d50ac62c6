"""GLASS beside its training: released checkpoints in any order, its ways, and which protocols its clips may answer."""

import json
import random
from dataclasses import replace
from functools import partial
from pathlib import Path

import glass_golden
import numpy as np
import pytest
import tiny as tiny_clips
import torch
from click.testing import CliRunner

from vbench_ctl import files, generation, pictures, runs, scoring, training, video
from vbench_ctl.baselines import glass
from vbench_ctl.baselines.glass import play, ways
from vbench_ctl.baselines.glass.settings import Settings
from vbench_ctl.baselines.glass.system import System
from vbench_ctl.cli import main
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.generation import Given
from vbench_ctl.sources import FolderSource

TINY = glass_golden.SMALL
HEIGHT, WIDTH = 32, 48


def system() -> System:
    torch.manual_seed(0)
    return System(Settings(**TINY), HEIGHT, WIDTH).eval()


def imported(folder: Path) -> Path:
    """Make a run of a system that has learnt nothing."""
    held, facts = system(), training.DataFacts(HEIGHT, WIDTH)
    return runs.imported(folder, "glass", glass, held.settings, {"": held.state_dict()}, facts, Path("x.pth")).folder


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return imported(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def real(tmp_path) -> Path:
    """A folder of two clips in a subfolder, twice as large as the model's frames."""
    rng = np.random.default_rng(0)
    clips = {f"test/{name}": rng.integers(256, size=(5, 2 * HEIGHT, 2 * WIDTH, 3), dtype=np.uint8) for name in "ab"}
    (tmp_path / "real" / "test").mkdir(parents=True)
    for name, clip in clips.items():
        video.write(tmp_path / "real" / f"{name}.mkv", clip)
    return tmp_path / "real"


def said(*words: object) -> str:
    """Return what a refused command says."""
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 2, done.output
    return " ".join(done.stderr.splitlines()[-1].split())


# Released checkpoints


@pytest.mark.parametrize("order", ["sorted", "shuffled", "motions exchanged", "of several processes"])
def test_tensors_are_found_by_their_names(shared, tmp_path, order):
    state = glass_golden.golden(shared, "sd_small").state()
    names = sorted(state) if order == "sorted" else [*state]
    if order == "shuffled":
        random.Random(0).shuffle(names)
    if order == "motions exchanged":
        names.sort(key=lambda name: (name.startswith("foreground_transform"), name.startswith("inpainting")))
    prefix = "module." if order == "of several processes" else ""
    for file, kept, before in (("whole.pth", state, ""), ("other.pth", names, prefix)):
        torch.save({"model": {before + name: torch.from_numpy(state[name]) for name in kept}}, tmp_path / file)
    (_, wanted, _), (_, found, _) = (glass.import_checkpoint(tmp_path / file) for file in ("whole.pth", "other.pth"))
    assert list(found[""]) == list(wanted[""])
    assert all(torch.equal(found[""][name], value) for name, value in wanted[""].items())
    assert not all(
        torch.equal(wanted[""][n], wanted[""][n.replace("fore", "back")]) for n in wanted[""] if n[:4] == "fore"
    )


def test_a_tensor_of_another_name_is_refused(shared, tmp_path):
    state = glass_golden.golden(shared, "sd_small").state()
    tensors = {name.replace("masking_network", "mask_net"): torch.from_numpy(value) for name, value in state.items()}
    torch.save({"model": tensors}, tmp_path / "a.pth")
    with pytest.raises(VbenchError, match=r"named mask_net\.backbone\.conv1\.weight, .* no checkpoint of GLASS"):
        glass.import_checkpoint(tmp_path / "a.pth")


# Ways

STEPS = {"action": np.array([1.0, 0.0]), "dx": np.array([6.0, -6.0]), "dy": np.array([0.0, 8.0])}


def played(given: Given, monkeypatch) -> play.Controls:
    """Return what the model is told by a way that plays."""
    told = []
    monkeypatch.setattr(play, "rollout", lambda system, first, controls: told.append(controls) or first[:, None])
    ways.control(system(), given)
    return told[0]


def test_pixels_are_those_of_the_clips(run, real, tmp_path, monkeypatch):
    (tmp_path / "c.csv").write_text("\ufeffaction,dx,dy,camera_dy\n1,6,0,16\n0,-6,8,0\n", encoding="utf-8")
    told, rollout = [], play.rollout
    monkeypatch.setattr(play, "rollout", lambda *asked: told.append(asked[2]) or rollout(*asked))
    words = ["--way", "control", "--real", real, "--control", tmp_path / "c.csv", "--out", tmp_path / "out", "--json"]
    done = CliRunner().invoke(main, [str(word) for word in ("generate", run, *words)])
    assert done.exit_code == 0, done.output
    assert told[0].actions.tolist() == [[1, 0]]
    close = partial(np.testing.assert_allclose, atol=1e-6)
    close(told[0].shifts[0], [[2 * 6 / (2 * WIDTH), 0], [-2 * 6 / (2 * WIDTH), 2 * 8 / (2 * HEIGHT)]])
    close(told[0].camera[0], [[0, 2 * 16 / (2 * HEIGHT)], [0, 0]])
    manifest = files.read_json(tmp_path / "out" / "manifest.json")
    assert manifest["files"] == json.loads(done.stdout)["files"] == ["test/a.mkv", "test/b.mkv"]
    assert all(len(video.read(tmp_path / "out" / name).frames) == 3 for name in manifest["files"])


def test_a_way_that_was_stopped_is_shown_again_and_clips_of_others_are_left_alone(run, real, tmp_path, monkeypatch):
    words = [str(word) for word in ("generate", run, "--way", "segment", "--real", real, "--out")]
    with monkeypatch.context() as stopped:
        stopped.setattr(pictures, "save", lambda *asked: (_ for _ in ()).throw(VbenchError("stopped")))
        assert CliRunner().invoke(main, [*words, str(tmp_path / "out")]).exit_code == 1
    assert CliRunner().invoke(main, [*words, str(tmp_path / "out")]).exit_code == 0
    assert files.read_json(tmp_path / "out/manifest.json")["files"]
    (tmp_path / "out/manifest.json").unlink()
    done = CliRunner().invoke(main, [*words, str(tmp_path / "out")])
    assert done.exit_code == 1 and "which vbench-ctl generate did not make; choose another --out" in done.output


def test_length_takes_the_first_steps(monkeypatch):
    clip = np.zeros((3, HEIGHT, WIDTH, 3), np.uint8)
    given = partial(Given, [("a", clip)], control=STEPS, sizes=[clip.shape[1:3]])
    assert played(given(), monkeypatch).actions.shape == (1, 2)
    assert played(given(length=2), monkeypatch).actions.tolist() == [[1]]
    for length in (1, 4):
        with pytest.raises(UsageError, match=f"--length {length}: --control has steps for 2 to 3 frames"):
            ways.control(system(), given(length=length))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            None,
            "--way control plays a CSV file of the columns action, dx, dy, camera_dx, camera_dy; give it with --control",
        ),
        ("action,dx,dy,camera-dx\n1,0,0,3\n", "there is no column camera-dx; expected action, dx, dy, camera_dx"),
        ("action,dx\n1,0\n", "the column dy is missing"),
        ("action,dx,dy\n1.7,0,0\n", "action 1.7 is no whole number"),
        ("action,dx,dy\n99,0,0\n", "local action [99], this model has 0 to 4"),
    ],
)
def test_controls_that_would_be_ignored_are_refused(run, real, tmp_path, text, says):
    words = ["--way", "control", "--real", real, "--out", tmp_path / "out"]
    if text:
        (tmp_path / "c.csv").write_text(text)
        words += ["--control", tmp_path / "c.csv"]
    assert says in said("generate", run, *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("way", ["transfer", "segment"])
def test_one_frame_has_no_motion(run, real, tmp_path, way):
    words = ["--way", way, "--real", real, "--length", 1, "--out", tmp_path / "out"]
    words += ["--control-from", real / "test" / "a.mkv"] * (way == "transfer")
    assert "one frame has none; give at least 2" in said("generate", run, *words)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--gird"], "No such option '--gird'."),
        (["--length", "3"], "or which --way to show: control, transfer, grid, segment"),
        (["--grid", "--protocol", "wsprites-control"], "or which --way to show: control, transfer, grid, segment"),
        ([], "or which --way to show: control, transfer, grid, segment"),
    ],
)
def test_the_way_that_was_meant_is_named(run, tmp_path, words, says):
    assert said("generate", run, *words, "--out", tmp_path / "out").endswith(says)


def test_the_way_that_the_options_speak_of_need_not_be_said(run, real, tmp_path):
    words = {"grid": ["--grid"], "transfer": ["--control-from", real / "test" / "a.mkv"]}
    for way, each in words.items():
        out = tmp_path / way
        done = CliRunner().invoke(main, [str(word) for word in ("generate", run, *each, "--real", real, "--out", out)])
        assert done.exit_code == 0, done.output
        assert json.loads((out / "manifest.json").read_text())["way"] == way


# Protocols


def test_clips_made_otherwise_than_a_protocol_says_are_neither_made_nor_scored(run, real, tmp_path):
    released, free = tiny_clips.protocol(teacher_forced=True, train_mode=4), tiny_clips.protocol()
    source, out = FolderSource(real), tmp_path / "out"
    with pytest.raises(
        UsageError, match="made with --teacher-forced --train-mode 4, and those of run are made with nei"
    ):
        generation.count(generation.model(run), replace(released, control="inferred-actions"), source)
    tiny_clips.write_outputs(out, {"a": np.zeros((6, 6, 8, 3), np.uint8)})
    for options, protocol in (({"teacher_forced": False}, released), ({"teacher_forced": True}, free)):
        files.write_json(out / "manifest.json", {"format": "vbench-outputs 1", "model": "m", "options": options})
        with pytest.raises(UsageError, match="is of clips made with"):
            scoring.score(FolderSource(out), source, protocol)


# Where runs are


def test_a_run_is_also_found_where_train_puts_it(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept = imported(home / "runs" / "mine")
    assert runs.folder_of("runs/mine") == runs.folder_of(Path("runs/mine")) == kept
    assert runs.folder_of("mine") == Path("mine") and runs.folder_of(kept) == kept
    assert runs.folder_of("runs/mine", tmp_path / "elsewhere") == Path("runs/mine")
    assert said("generate", "runs/mine", "--out", "out").endswith("grid, segment")
    assert "no dataset" in said("train", "--resume", "runs/mine", "--dry-run")
    own = imported(tmp_path / "runs" / "mine")
    assert runs.folder_of("runs/mine") == Path("runs/mine") and own.samefile("runs/mine")
