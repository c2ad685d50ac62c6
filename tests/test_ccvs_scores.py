"""Scoring as CCVS was released: `score --preset ccvs`."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tiny
from click.testing import CliRunner
from tiny import Named, colours

from vbench_ctl import presets, protocols, scoring, tokens, video
from vbench_ctl.cli import main
from vbench_ctl.errors import UsageError
from vbench_ctl.sources import ArraySource, open_source
from vbench_ctl.statistics.frechet import frechet, frechet_by_groups

CCVS = presets.load("ccvs")


def smooth(count: int, seed: int) -> np.ndarray:
    """Clips (N, 6, 16, 16, 3) that H.264 changes only a little."""
    corners = np.random.default_rng(seed).integers(256, size=(count, 6, 2, 2, 3)).astype(float)
    along = np.linspace(0, 1, 16)
    across = corners[:, :, 0, :, None] * (1 - along[:, None]) + corners[:, :, 1, :, None] * along[:, None]
    return (across[:, :, 0, None] * (1 - along[:, None, None]) + across[:, :, 1, None] * along[:, None, None]).astype(
        np.uint8
    )


def test_clips_go_through_the_released_coding(tmp_path):
    clip = smooth(1, 0)[0]
    found = CCVS.coding("bair-hd").through(clip)
    video.write(tmp_path / "clip.mp4", clip, 4, bit_rate=1_024_000)
    assert (
        np.array_equal(found, video.read(tmp_path / "clip.mp4").frames) and video.probe(tmp_path / "clip.mp4").fps == 4
    )
    assert 0 < np.abs(found.astype(int) - clip).mean() < 8
    noise = tiny.noise(1, 0, 90, (16, 16))[0]
    starved, fed = (presets.Coding(rate, 30).through(noise).astype(int) for rate in (20_000, 1_024_000))
    assert np.abs(starved - noise).mean() > 1.1 * np.abs(fed - noise).mean()
    assert [str(CCVS.coding(name)) for name in ("bair-hd", "kinetics600", "audioset-drums", "another")] == [
        f"mp4-1024k-{fps}fps" for fps in (4, 10, 30, 10)
    ]
    for wrong in ({"bit_rate": 9, "crf": 17}, {"bit_rate": 9, "suffix": ".webm"}):
        with pytest.raises(UsageError, match="in place of crf"):
            video.write(tmp_path / f"no{wrong.pop('suffix', '.mp4')}", clip, **wrong)


def test_the_preset_codes_and_groups_and_the_default_does_not(toy):
    preset = replace(CCVS, groups_of=8)
    real, fake = smooth(16, 0), smooth(16, 1)
    (plain,) = scoring.score(ArraySource(fake), ArraySource(real), metrics=["fvd-ccvs"])
    (row,) = scoring.score(ArraySource(fake), ArraySource(real), preset=preset)
    coded = [colours(np.stack([preset.coding("").through(clip) for clip in clips])) for clips in (real, fake)]
    values = frechet_by_groups(*coded, 8)
    assert row.value == pytest.approx(values.mean(), rel=1e-4)
    assert row.signature == "fvd|ccvs|i3d-k400:01234567|6f|16x1:8|ccvs,ddof1,mp4-1024k-10fps,real-mp4-1024k-10fps|v1"
    assert plain.value == pytest.approx(frechet(colours(real), colours(fake)), rel=1e-4)
    assert plain.value != row.value and plain.signature == "fvd|ccvs|i3d-k400:01234567|6f|16x1|ccvs,ddof1|v1"


def test_the_protocols_own_groups_and_metrics(toy, tmp_path):
    protocol = replace(tiny.protocol(), dataset="bair-hd", metrics=("fvd", "fvd-ccvs", "ssim-ccvs"), metric_frames={})
    real = Named({f"test/{n}": clip for n, clip in enumerate(smooth(16, 0))})
    fake = Named({f"test/{n}": clip for n, clip in enumerate(smooth(16, 1))})
    rows = scoring.score(fake, real, protocol, preset=CCVS)
    assert [row.metric for row in rows] == ["fvd-ccvs", "ssim-ccvs"]
    assert (
        all(",mp4-1024k-4fps,real-mp4-1024k-4fps|" in row.signature for row in rows) and "|16x1|" in rows[0].signature
    )
    for n in range(16):
        video.write(tmp_path / f"o/test/{n}.mp4", smooth(16, 1)[n])
    (once,) = scoring.score(open_source(tmp_path / "o"), real, replace(protocol, lossy=True), ["fvd-ccvs"], preset=CCVS)
    assert ",lossy-h264,real-mp4-1024k-4fps|" in once.signature  # what is mp4 is not coded again


def test_a_preset_that_cannot_be(toy, tmp_path):
    clips = ArraySource(smooth(2, 0))
    with pytest.raises(UsageError, match="--preset ccvs computes fvd-ccvs, psnr-piq, ssim-ccvs and no fvd;"):
        scoring.score(clips, clips, metrics=["fvd"], preset=CCVS)
    with pytest.raises(UsageError, match="--real-stats does not hold"):
        scoring.score(clips, clips, real_stats=tmp_path, preset=CCVS)
    with pytest.raises(UsageError, match='no preset "cvs"; did you mean "ccvs"'):
        presets.load("cvs")


def test_the_rates_are_of_data_sets_that_protocols_name():
    assert set(CCVS.fps_of) <= {protocol.dataset for protocol in protocols.load_all().values()}
    assert all(tokens.is_known(token) for token in (*CCVS.metrics, *CCVS.besides))


def test_the_command(tmp_path):
    for name, seed in (("fake", 1), ("real", 0)):
        np.save(tmp_path / f"{name}.npy", smooth(2, seed))
    words = [str(tmp_path / "fake.npy"), "--real", str(tmp_path / "real.npy"), "--metrics", "psnr-piq", "--json"]
    words += ["--preset", "ccvs", "--root", str(tmp_path), "--workers", "1"]
    done = CliRunner().invoke(main, ["score", *words])
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)
    assert row["signature"].endswith(",mp4-1024k-10fps,real-mp4-1024k-10fps|v1")
    both = CliRunner().invoke(main, ["score", *words, "--suite", "control"])
    assert both.exit_code == 2 and "--suite and --preset exclude each other" in both.output
