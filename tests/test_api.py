import gc
import json
import math
import pickle
import sys
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tiny
from click.testing import CliRunner
from tiny import colours, noise

import vbench_ctl
from vbench_ctl import protocols, sources, video
from vbench_ctl.cli import main
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.statistics.frechet import frechet


def test_arrays_tensors_paths_and_iterators_are_the_same_clips(tmp_path):
    import torch

    real, fake = noise(3, 0, 6, (16, 16)), noise(3, 1, 6, (16, 16))
    np.save(tmp_path / "fake.npy", fake)
    for number, clip in enumerate(fake):
        video.write(tmp_path / "folder" / f"{number:05d}.mkv", clip)
    given = [fake, torch.from_numpy(fake), tmp_path / "fake.npy", str(tmp_path / "folder"), iter(list(fake))]
    values = [vbench_ctl.score(one, real, metrics=["psnr"])[0].value for one in given]
    assert len(set(values)) == 1 and values[0] < 20


def test_batches_come_to_the_same_as_the_whole(toy):
    real, fake = noise(20, 0, 6, (16, 16)), noise(20, 1, 6, (16, 16))
    scores = vbench_ctl.Scores(["fvd", "psnr", "ssim"])
    for at in range(0, 20, 7):
        scores.update(fake[at : at + 7], real[at : at + 7])
    found = scores.compute()
    for row in vbench_ctl.score(fake, real, metrics=["fvd", "psnr", "ssim"]):
        assert found[row.metric].value == pytest.approx(row.value, rel=1e-12)
        assert (found[row.metric].n, found[row.metric].signature) == (row.n, row.signature)
    scores.reset()
    with pytest.raises(VbenchError, match="nothing was added"):
        scores.compute()


def test_sets_may_be_fed_unequally(toy):
    real, fake = noise(20, 0), noise(12, 1)
    scores = vbench_ctl.Scores(["fvd"])
    scores.update(fake[:5], real[:7])
    scores.update(fake[5:])
    scores.update(real=real[7:])
    row = scores.compute()["fvd"]
    assert row.value == pytest.approx(frechet(colours(real), colours(fake)), rel=1e-5) and "|12x1/20|" in row.signature
    with pytest.raises(UsageError, match="update has no clips to add"):
        scores.update()


@pytest.mark.parametrize(
    ("clips", "says"),
    [
        (np.zeros((2, 4, 16, 16, 3)), "the generated clips: the array is float64, expected uint8"),
        (np.zeros((2, 4, 3, 16, 16), np.uint8), "move the colours to the end"),
        ([], "the generated clips: no clips"),
        ([np.zeros((4, 16, 16, 3), np.float32)], "clip 0: the array is float32"),
    ],
)
def test_other_data_is_refused(clips, says):
    with pytest.raises(VbenchError, match=says):
        vbench_ctl.score(clips, noise(2, 0), metrics=["psnr"])


@pytest.mark.parametrize("clips", [None, 5, object()])
def test_what_is_no_clips_is_refused(clips):
    for given in ((clips, noise(2, 0)), (noise(2, 0), clips)):
        with pytest.raises(
            UsageError, match=r"the (generated|real) clips: .* holds no clips; expected a path, an array"
        ):
            vbench_ctl.score(*given, metrics=["psnr"])


@pytest.mark.parametrize(
    ("clips", "says"),
    [
        ([None], "clip 0: the array is object"),
        ([[[1, 2], [3]]], r"clip 0: no array \(.*\); expected \(T, H, W, 3\) uint8"),
        (np.uint8(5), r"the array is \(\), expected"),
        (iter(()), "the generated clips: no clips"),
        (["a.mkv"], r"clip 0: 'a.mkv' is a name; give the folder that the clips lie in"),
        ([Path("a.mkv")], "clip 0: 'a.mkv' is a name"),
        ({"videos": noise(2, 1)}, r"several things by name \(videos\); give the one that is the clips"),
        ([(noise(2, 1), np.arange(2))], "clip 0: a tuple of arrays, as a DataLoader makes of a batch; give the one"),
    ],
)
def test_strange_clips_are_refused(clips, says):
    with pytest.raises(VbenchError, match=says):
        vbench_ctl.score(clips, noise(2, 0), metrics=["psnr"])


def test_half_precision_is_refused_as_other_floats_are():
    import torch

    with pytest.raises(VbenchError, match=r"the array is torch\.bfloat16, expected uint8"):
        vbench_ctl.score(torch.zeros(1, 2, 16, 16, 3, dtype=torch.bfloat16), noise(1, 0), metrics=["psnr"])


def test_metrics_may_be_a_text():
    fake, real = noise(2, 0, 6, (16, 16)), noise(2, 1, 6, (16, 16))
    assert [row.metric for row in vbench_ctl.score(fake, real, "psnr, mse,")] == ["psnr", "mse"]
    scores = vbench_ctl.Scores("mse,")
    scores.update(fake, real)
    assert [*scores.compute()] == ["mse"]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"metrics": 5}, r'^metrics are 5, expected names: "fvd,psnr" or \["fvd", "psnr"\]$'),
        ({"metrics": [5]}, r"^metrics are \[5\], expected names"),
        ({"workers": "rayy"}, """^workers is 'rayy', expected a number of processes or "ray"$"""),
        ({"workers": 1.5}, r"^workers is 1\.5, expected"),
        ({"workers": 0}, "^workers is 0, expected"),
        ({"root": 5}, "^root is 5, expected the folder"),
        ({"device": 5}, '^networks cannot run on "5" here'),
        ({"backend": 5}, '^no backend "5"'),
        ({"protocol": 5}, '^no protocol "5"'),
    ],
)
def test_arguments_of_another_kind_are_a_sentence(asked, says):
    with pytest.raises(UsageError, match=says):
        vbench_ctl.score(noise(2, 0), noise(2, 1), **asked)
    if metrics := asked.get("metrics"):
        with pytest.raises(UsageError, match=says):
            vbench_ctl.Scores(metrics)


def test_clips_of_an_iterator_are_not_kept_in_memory():
    count, size = 64, (32, 32)
    made = (noise(1, number, 8, size)[0] for number in range(count))
    tracemalloc.start()
    try:
        source = sources.as_source(made, "made")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < count * 8 * 32 * 32 * 3 / 4
    assert len(source.ids) == count and source.length("00063") == 8
    np.testing.assert_array_equal(source.frames("00063", 2, 6, 2), noise(1, 63, 8, size)[0, 2:6:2])
    file = Path(source.clips.path)
    again = pickle.loads(pickle.dumps(source))  # as a worker gets it
    np.testing.assert_array_equal(again.frames("00000"), noise(1, 0, 8, size)[0])
    del again
    assert file.exists()
    del source
    assert not file.exists()


def test_memory_does_not_grow_with_the_number_of_clips(toy, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "benchmarks")
    from load import SHAPE, Noise

    def most(count: int) -> int:
        tracemalloc.start()
        try:
            vbench_ctl.score(Noise(count, 1), Noise(count, 2), ["fvd", "psnr"])
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    most(48)  # what is imported and kept stays
    pixels = 2 * 32 * math.prod(SHAPE)
    assert most(48) - most(16) < pixels / 2  # draws of the bootstrap grow


def test_an_iterator_that_fails_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def failing():
        yield noise(1, 0)[0]
        raise RuntimeError("the loader broke")

    with pytest.raises(RuntimeError, match="the loader broke") as caught:
        sources.as_source(failing(), "made")
    del caught
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_lossy_clips_may_be_allowed(tmp_path):
    plan = tiny.built(tmp_path / "store", test=tiny.work("test", (8, 9), size=(8, 8)))
    real = sources.StoreSource(plan)
    for clip_id in real.ids:
        video.write(tmp_path / "mine" / f"{clip_id}.mp4", real.frames(clip_id, 0, 6))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocols, "load", lambda name: tiny.protocol())
        with pytest.raises(VbenchError, match="a lossy encoding"):
            vbench_ctl.score(tmp_path / "mine", real, "mse", protocol="tiny-c2-p4")
        (row,) = vbench_ctl.score(tmp_path / "mine", real, "mse", protocol="tiny-c2-p4", allow_lossy=True)
    assert row.value is not None and "lossy-h264" in row.signature


def test_pairs_must_match():
    for given in ((noise(3, 0), noise(2, 0)), (noise(3, 0),)):
        with pytest.raises(
            VbenchError, match=r"3 generated and . real clips make no pairs, which psnr compares; give as"
        ):
            vbench_ctl.Scores(["psnr"]).update(*given)


def test_a_metric_without_its_weights_is_a_row_without_a_value():
    fake, real = noise(4, 0, 6, (16, 16)), noise(4, 1, 6, (16, 16))
    scores = vbench_ctl.Scores(["fvd", "psnr"], device="cpu")
    scores.update(fake, real)
    found, rows = scores.compute(), vbench_ctl.score(fake, real, ["fvd", "psnr"], device="cpu")
    assert found["fvd"].value is None and found["fvd"].note == rows[0].note and "i3d-k400" in rows[0].note
    assert found["psnr"].value == pytest.approx(rows[1].value)


def test_importing_the_package_is_light():
    import subprocess

    code = (
        "import sys, vbench_ctl; assert 'numpy' not in sys.modules; vbench_ctl.score; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="has no attribute 'scores'"):
        vbench_ctl.scores  # noqa: B018


# A signature is accepted back


@pytest.fixture
def folders(tmp_path):
    for name, seed in (("real", 0), ("fake", 1)):
        np.save(tmp_path / f"{name}.npy", noise(3, seed, 6, (16, 16)))
    return [str(tmp_path / "fake.npy"), "--real", str(tmp_path / "real.npy")]


def run(*words):
    return CliRunner().invoke(main, ["score", *words])


def test_a_signature_is_accepted_back(folders):
    (row,) = json.loads(run(*folders, "--metrics", "ssim-uniform7", "--json").stdout)
    again = run(*folders, "--like", row["signature"], "--json")
    assert again.exit_code == 0 and json.loads(again.stdout)[0]["value"] == row["value"]


def test_what_differs_from_a_signature_is_said(folders):
    (row,) = json.loads(run(*folders, "--metrics", "psnr", "--json").stdout)
    other = run(*folders, "--like", row["signature"].replace("|6f|", "|15f|"))
    assert other.exit_code == 1 and "differs in frames 15f / 6f" in other.stderr
    more = run(*folders, "--like", row["signature"].replace("|3x1|", "|32x1|"))
    assert more.exit_code == 1 and "would differ from that signature in clips x samples 32x1 / 3x1" in more.stderr
    newer = run(*folders, "--like", row["signature"].replace("|v1", "|v9"))
    assert newer.exit_code == 1 and "is at v1 here, the signature is of v9" in newer.stderr
    assert run(*folders, "--like", "psnr").exit_code == UsageError.exit_code
    assert run(*folders, "--like", row["signature"], "--metrics", "psnr").exit_code == 2


def test_rows_as_a_table():
    clips = np.random.default_rng(0).integers(0, 256, (3, 2, 16, 16, 3), np.uint8)
    rows = vbench_ctl.score(clips, clips[::-1], metrics=["mse", "psnr"])
    found = vbench_ctl.table(rows)
    assert found["metric"].tolist() == ["mse", "psnr"] and found["value"].tolist() == [row.value for row in rows]
    assert not {"per_frame", "provenance", "details"} & set(found.columns)


def test_masked_arrays_are_arrays():
    fake, real = noise(2, 0, 6, (16, 16)), noise(2, 1, 6, (16, 16))
    found = [vbench_ctl.score(clips, real, "mse")[0].value for clips in (fake, np.ma.array(fake))]
    assert found[0] == found[1]


def test_what_is_offered_is_seen():
    assert {"score", "Scores", "table"} <= set(dir(vbench_ctl))


def test_sets_of_two_sizes_say_so(toy):
    row = vbench_ctl.score(noise(12, 0), noise(20, 1), "fvd")[0]
    assert "12 generated clips against 20 real ones" in row.note
    assert "against" not in vbench_ctl.score(noise(12, 0), noise(12, 1), "fvd")[0].note


def test_what_is_wrong_with_given_clips_is_said_of_them():
    with pytest.raises(UsageError, match="the real clips: no store, and so without splits"):
        vbench_ctl.score(noise(2, 0), noise(2, 1), "mse", split="test")
    with pytest.raises(VbenchError, match=r"^the real clips that were given: wsprites-quickstart@1 needs"):
        vbench_ctl.score(noise(2, 0), noise(2, 1), "mse", protocol="wsprites-quickstart")
