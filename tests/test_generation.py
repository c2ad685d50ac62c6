"""Outputs folders of the sanity baselines: what is in them, and going on where one stopped."""

import json
import os
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from click.testing import CliRunner

from vbench_ctl import building, execute, files, generation, protocols, recipes, registry, runs, scoring, store, video
from vbench_ctl.cli.generate import model_command
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.protocols import Select
from vbench_ctl.sources import FolderSource, StoreSource

SANITY = ("copy-last", "noise", "real", "shuffled-control")
LENGTHS = (8, 9, 10, 11, 12)


@pytest.fixture
def real(tmp_path) -> StoreSource:
    splits = {"train": tiny.work("train", LENGTHS), "test": tiny.work("test", LENGTHS)}
    building.build(tmp_path / "store", tiny.recipe(**splits))
    return StoreSource(store.Store(tmp_path / "store", "test"))


def generated(baseline: str, real, folder, protocol=None, **how) -> dict[str, np.ndarray]:
    generation.generate(generation.model(baseline), protocol or tiny.protocol(), real, folder, **how)
    outputs = FolderSource(folder)
    return {clip_id: outputs.frames(clip_id) for clip_id in outputs.ids}


def bytes_of(folder) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*.mkv"))}


@pytest.mark.parametrize("baseline", SANITY)
def test_every_row_answers_every_case(tmp_path, real, baseline):
    protocol = tiny.protocol(samples=2)
    manifest = generation.generate(generation.model(baseline), protocol, real, tmp_path / "out")
    assert baseline in registry.names("baselines")
    assert files.read_json(tmp_path / "out/manifest.json") == manifest
    assert (manifest["model"], manifest["protocol"], manifest["seed"]) == (baseline, "tiny-c2-p4@1", 0)
    assert manifest["dataset"] == {"dataset": "tiny", "variant": "8x6", "version": 1}
    assert [entry["file"] for entry in manifest["clips"]] == [
        f"test/clip_{index}@0#{sample}.mkv" for index in range(5) for sample in range(2)
    ]
    rows = scoring.score(FolderSource(tmp_path / "out"), real, protocol)
    assert {row.model for row in rows} == {baseline} and all(row.n == 5 for row in rows)
    if baseline != "real":
        for index, clip_id in enumerate(real.ids):
            made = video.read(tmp_path / "out" / f"{clip_id}@0#1.mkv").frames
            np.testing.assert_array_equal(made[:2], real.frames(clip_id, 0, 2), err_msg=f"{index}")


def test_copy_last_stands_still(tmp_path, real):
    for frames in generated("copy-last", real, tmp_path / "out").values():
        assert len(frames) == 6 and (frames[2:] == frames[1]).all() and (frames[0] != frames[1]).any()
    unconditional = tiny.protocol(context=0, predict=6, generated=7)
    with pytest.raises(VbenchError, match="copy-last repeats the last given frame, and tiny-c2-p4@1 gives none"):
        generation.generate(generation.model("copy-last"), unconditional, real, tmp_path / "none")


def test_noise_depends_on_seed_case_and_sample(tmp_path, real):
    protocol = tiny.protocol(samples=2)
    made = [generated("noise", real, tmp_path / f"{n}", protocol, seed=seed) for n, seed in enumerate((0, 0, 1))]
    parts = {frames[2:].tobytes() for run in (made[0], made[2]) for frames in run.values()}
    assert len(parts) == 20 and all((made[0][name] == made[1][name]).all() for name in made[0])
    assert abs(np.mean([frames[2:].mean() for frames in made[0].values()]) - 127.5) < 5


def test_the_real_row_comes_from_another_split(tmp_path, real):
    train = store.Store(tmp_path / "store", "train")
    windows = {train.frames(i, at, at + 6).tobytes(): i for i, n in enumerate(LENGTHS) for at in range(n - 5)}
    used = [windows[frames.tobytes()] for frames in generated("real", real, tmp_path / "out").values()]
    assert sorted(used) == [0, 1, 2, 3, 4]  # as evenly as they can
    (tmp_path / "one").mkdir()
    alone = StoreSource(tiny.built(tmp_path / "one", test=tiny.work("test", LENGTHS)))
    with pytest.raises(VbenchError, match="the row real needs a store with a second split; prepare one more"):
        generation.generate(generation.model("real"), tiny.protocol(), alone, tmp_path / "none")


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_shuffled_control_is_a_permutation(tmp_path, count):
    """Each clip's future is used once, and never its own."""
    real = StoreSource(tiny.built(tmp_path / "store", test=tiny.work("test", LENGTHS[:count])))
    futures = {real.frames(clip_id, 2, 6).tobytes(): f"{clip_id}@0#0" for clip_id in real.ids}
    taken = {name: futures[f[2:].tobytes()] for name, f in generated("shuffled-control", real, tmp_path / "o").items()}
    assert sorted(taken.values()) == sorted(taken) and all(name != other for name, other in taken.items())


def test_one_case_cannot_be_shuffled(tmp_path):
    real = StoreSource(tiny.built(tmp_path / "store", test=tiny.work("test", (8,))))
    with pytest.raises(VbenchError, match="shuffled-control needs at least 2 cases to exchange, tiny-c2-p4@1 has 1"):
        generation.generate(generation.model("shuffled-control"), tiny.protocol(), real, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_steps_and_crops_are_followed(tmp_path, real):
    protocol = tiny.protocol(context=1, predict=2, select=Select("first", step=3, crops=1), metric_frames={})
    made = generated("shuffled-control", real, tmp_path / "out", protocol)
    assert {frames.shape for frames in made.values()} == {(3, 6, 6, 3)}
    np.testing.assert_array_equal(made["test/clip_0@0+50#0"][0], real.frames("test/clip_0")[0, :, 1:7])
    np.testing.assert_array_equal(made["test/clip_0@0+50#0"][1:], real.frames("test/clip_2")[3:7:3, :, 1:7])
    assert {frames.shape for frames in generated("real", real, tmp_path / "r", protocol).values()} == {(3, 6, 6, 3)}


# Going on


def test_workers_and_interruptions_leave_the_same_bytes(tmp_path, real, monkeypatch):
    """An interrupted folder with a killed writer's rest ends like one made at one go, by two processes."""
    protocol = tiny.protocol(samples=2)
    generation.generate(generation.model("noise"), protocol, real, tmp_path / "whole")
    monkeypatch.setattr(generation, "CHUNK", 3)
    generation.generate(generation.model("noise"), protocol, real, tmp_path / "cut", workers=2)
    assert bytes_of(tmp_path / "cut") == bytes_of(tmp_path / "whole")

    lost = sorted((tmp_path / "cut").rglob("*.mkv"))[::3]
    for path in lost:
        path.unlink()
    rest = lost[0].with_name(f".{lost[0].stem}.123.part.mkv")
    rest.write_bytes(b"half a video")
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cut").rglob("*.mkv") if path != rest}
    generation.generate(generation.model("noise"), protocol, real, tmp_path / "cut")
    assert bytes_of(tmp_path / "cut") == bytes_of(tmp_path / "whole") and not rest.exists()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    whole, cut = (files.read_json(tmp_path / name / "manifest.json") for name in ("whole", "cut"))
    assert {**whole, "made": 0, "speed": 0} == {**cut, "made": 0, "speed": 0}
    assert set(whole["made"]) == {"at", "with", "on", "command", "wall_seconds", "cpu_seconds"}
    assert whole["made"]["cpu_seconds"] > 0


@pytest.mark.parametrize(
    ("device", "workers", "gpu", "seen"),
    [("cpu", 2, False, "cpu"), ("mps", 2, True, "mps"), ("cuda:1", 2, True, "cuda:1"), ("cuda:1", "ray", True, "cuda")],
)
def test_a_worker_for_a_gpu_knows_it_by_its_name_there(tmp_path, real, monkeypatch, device, workers, gpu, seen):
    asked = []
    monkeypatch.setattr(execute, "run", lambda function, items, workers, gpu: asked.append((function, gpu)) or ())
    model = replace(generation.model("noise"), device=device)
    generation.generate(model, tiny.protocol(), real, tmp_path / "out", workers=workers)
    [(function, on_gpu)] = asked
    assert on_gpu is gpu and function.args[0].model.device == seen


def test_two_models_do_not_mix(tmp_path, real):
    generation.generate(generation.model("copy-last"), tiny.protocol(), real, tmp_path / "out")
    before = (tmp_path / "out/manifest.json").read_bytes()
    for baseline, protocol, seed, wrong in (
        ("noise", tiny.protocol(), 0, "holds outputs with model copy-last, not noise"),
        ("copy-last", tiny.protocol(id="other@1"), 0, "holds outputs with protocol tiny-c2-p4@1, not other@1"),
        ("copy-last", tiny.protocol(), 1, "holds outputs with seed 0, not 1"),
    ):
        with pytest.raises(VbenchError, match=f"{wrong}; choose another --out"):
            generation.generate(generation.model(baseline), protocol, real, tmp_path / "out", seed)
    assert (tmp_path / "out/manifest.json").read_bytes() == before
    for text, wrong in (("{", "not a readable JSON file"), ("[]", "holds outputs with format None")):
        (tmp_path / "out/manifest.json").write_text(text)
        with pytest.raises(VbenchError, match=wrong):
            generation.generate(generation.model("copy-last"), tiny.protocol(), real, tmp_path / "out")


def test_clips_of_somebody_else_are_not_taken_for_the_models(tmp_path, real):
    generation.generate(generation.model("copy-last"), tiny.protocol(), real, tmp_path / "theirs")
    (tmp_path / "theirs/manifest.json").unlink()
    before = bytes_of(tmp_path / "theirs")
    with pytest.raises(
        VbenchError, match=r"theirs holds test/clip_.*mkv, which vbench-ctl generate did not make; choose"
    ):
        generation.generate(generation.model("noise"), tiny.protocol(), real, tmp_path / "theirs")
    assert bytes_of(tmp_path / "theirs") == before and not (tmp_path / "theirs/manifest.json").exists()


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (np.zeros((3, 6, 8, 3), np.uint8), r"came out as uint8 \(3, 6, 8, 3\), expected uint8 \(4 or 6, H, W, 3\)"),
        (np.zeros((4, 6, 8, 3)), r"came out as float64 \(4, 6, 8, 3\)"),
        (np.zeros((4, 6, 8), np.uint8), r"came out as uint8 \(4, 6, 8\)"),
        (np.zeros((4, 12, 16, 3), np.uint8), r"frames came out as \(12, 16, 3\), the given ones are \(6, 8, 3\)"),
        (None, "came out as NoneType"),
    ],
)
def test_what_is_no_clip_of_the_protocol_is_refused(tmp_path, real, monkeypatch, made, says):
    monkeypatch.setattr(registry.load("baselines", "noise"), "generate", lambda *asked: made)
    with pytest.raises(VbenchError, match=says):
        generation.generate(generation.model("noise"), tiny.protocol(), real, tmp_path / "out")
    assert not bytes_of(tmp_path / "out")


def test_two_processes_do_not_write_one_folder(tmp_path, real):
    with files.locked(tmp_path / "out"), pytest.raises(VbenchError, match="another vbench-ctl is writing there"):
        generation.generate(generation.model("noise"), tiny.protocol(), real, tmp_path / "out")


def test_an_unknown_baseline_is_named(tmp_path, real):
    with pytest.raises(UsageError, match='no baseline "copylast"; did you mean "copy-last"'):
        generation.generate(generation.model("copylast"), tiny.protocol(), real, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "0", "warm", ""])
@pytest.mark.parametrize("option", ["--temperature", "--temperature-state"])
def test_a_number_of_a_model_is_finite_and_above_0(tmp_path, option, value):
    command = model_command("run", registry.load("baselines", "ccvs"))
    done = CliRunner().invoke(command, ["--protocol", "x@1", "--out", str(tmp_path / "out"), option, value])
    said = done.stderr.splitlines()[-1]
    assert done.exit_code == 2 and said == (
        f"Error: Invalid value for '{option}': {value} is not a number above 0, such as 0.5"
    )
    assert not (tmp_path / "out").exists()


def test_numbers_of_a_model_reach_it():
    leaf = registry.load("baselines", "ccvs")
    context = model_command("run", leaf).make_context("run", ["--out", "x", "--temperature", "0.5"])
    assert (context.params["temperature"], context.params["temperature_state"]) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("baseline", "recipe", "heeded"),
    [
        ("g3an", "wsprites-small", {"none", "length"}),
        ("g3an", "wsprites-small-actions", {"none", "length", "actions"}),
        ("cinn", "bair", {"none", "inferred-actions"}),
        ("cinn", "bair-endpoint", {"none", "inferred-actions", "endpoint"}),
        ("ccvs", "bair-hd", {"none"}),
        ("ccvs", "bair-hd-state", {"none", "state"}),
        ("ccvs", "audioset-drums", {"none", "audio", "context-audio"}),
        ("ccvs", "wsprites", {"none", "actions"}),
        ("ccvs", "wsprites-class", {"none", "actions"}),  # the class is what is done at first
        ("glass", "wsprites", {"inferred-actions", "actions", "swap"}),
    ],
)
def test_a_manifest_says_what_a_run_heeds(tmp_path, baseline, recipe, heeded):
    """One that was trained without a protocol's control is a row all the same, and was told nothing."""
    run = runs.create(tmp_path / "run", baseline, recipes.load(baseline, recipe))
    model = generation.Model(baseline, run.folder)
    asked = {control: model.heeded(control) for control in model.leaf.CONTROLS}
    assert asked == {control: control if control in heeded else "none" for control in asked}


def test_too_short_clips_are_refused_before_anything_is_written(tmp_path):
    real = StoreSource(tiny.built(tmp_path / "store", test=tiny.work("test", (8, 5))))
    with pytest.raises(VbenchError, match=r'needs clips of at least 6 frames, but "test/clip_1" .* has 5'):
        generation.generate(generation.model("noise"), tiny.protocol(), real, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_no_half_clip(tmp_path, real):
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if os.name != "posix" or os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can be mounted by root on Linux only")
    try:
        protocol = tiny.protocol(samples=20)
        with pytest.raises(VbenchError, match=r"\.mkv: the disk is full; free some space"):
            generation.generate(generation.model("noise"), protocol, real, place / "out")
        written = FolderSource(place / "out")
        assert written.ids and all(written.frames(clip_id).shape == (6, 6, 8, 3) for clip_id in written.ids)
        assert not list((place / "out").rglob(".*.part*"))
        assert "clips" not in json.loads((place / "out/manifest.json").read_text())
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_one_seed_gives_one_generator_everywhere():
    drawn = [torch.rand(2, generator=generation.drawing(seed)) for seed in ((3, 1, 0), [3, 1, 0], (3, 1, 1))]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    seed = int(np.random.SeedSequence((3, 1, 0)).generate_state(1, np.uint64)[0]) % 2**63
    assert torch.equal(drawn[0], torch.rand(2, generator=torch.Generator().manual_seed(seed)))


def test_case_names_are_safe_paths():
    case = protocols.Case("../a b/c:d", 3, 6)
    assert ".." not in case.key.split("/") and ":" not in case.key
