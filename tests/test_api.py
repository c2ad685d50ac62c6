import json
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from tiny import colours, noise

import vbench_ctl
from vbench_ctl import video
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
    scores.update(fake[:5], real[:20])
    scores.update(fake[5:], real[:0].tolist() or real[:1])
    value = scores.compute()["fvd"].value
    assert value == pytest.approx(frechet(colours(np.concatenate([real, real[:1]])), colours(fake)), rel=1e-5)


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


def test_pairs_must_match():
    with pytest.raises(VbenchError, match="3 generated and 2 real clips make no pairs"):
        vbench_ctl.Scores(["psnr"]).update(noise(3, 0), noise(2, 0))


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
    other = run(*folders, "--like", row["signature"].replace("|6f|3x1|", "|15f|32x1|"))
    assert other.exit_code == 1 and "differs in frames 15f / 6f, clips x samples 32x1 / 3x1" in other.stderr
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
