"""Scores of whole sets through the one pass of `score`: with a toy network, and with the real ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from tiny import Named, colours, noise

from vbench_ctl import networks, protocols, scoring, video
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.networks import Features, Place
from vbench_ctl.protocols import Select
from vbench_ctl.sources import ArraySource
from vbench_ctl.statistics.frechet import frechet, frechet_by_groups


def test_sets_of_unequal_size_are_compared_without_pairing(toy):
    real, fake = noise(30, 0), noise(20, 1)
    (row,) = scoring.score(ArraySource(fake), ArraySource(real), metrics=["fvd"])
    assert row.value == pytest.approx(frechet(colours(real), colours(fake)), rel=1e-5)
    assert row.low < row.value < row.high and row.n == 20
    assert row.signature == "fvd|default|i3d-k400:01234567|6f|20x1/30|tf,ddof1|v1"
    assert row.note == "only 20 clips: below 256 it is biased upwards" and row.floor > 0


def test_weights_of_the_users_own_name_the_score(toy):
    real, fake = ArraySource(noise(16, 0)), ArraySource(noise(16, 1))
    found = scoring.score(fake, real, metrics=["dtfvd-1a2b3c4d", "dtfvd-0a2b3c4d", "dtfvd"])
    assert [row.metric for row in found] == ["dtfvd-1a2b3c4d", "dtfvd-0a2b3c4d", "dtfvd"]
    starts = ["dtfvd|1a2b3c4d|dti3d-16-1a2b3c4d:", "dtfvd|0a2b3c4d|dti3d-16-0a2b3c4d:", "dtfvd|default|dti3d-16:"]
    assert all(row.signature.startswith(start) for row, start in zip(found, starts, strict=True))
    assert scoring.token_like(found[0].signature) == "dtfvd-1a2b3c4d"
    assert scoring.metric("dtfvd-32-1a2b3c4d").features.weights == "dti3d-32-1a2b3c4d"
    for other in ("dtfvd-1a2b3c4", "psnr-1a2b3c4d", "dtfvd-64-1a2b3c4d"):
        with pytest.raises(UsageError, match="no variant of"):
            scoring.metric(other)


def test_weights_of_the_users_own_that_are_not_here_are_said():
    (row,) = scoring.score(ArraySource(noise(4, 1)), ArraySource(noise(4, 0)), metrics=["dtfvd-1a2b3c4d"])
    assert row.value is None and 'no weights "dti3d-16-1a2b3c4d"' in row.note and "weights add dti3d-16" in row.note


def test_a_set_is_at_no_distance_from_itself(toy):
    clips = ArraySource(noise(20, 0))
    fvd, kvd = scoring.score(clips, clips, metrics=["fvd", "kvd"])
    assert fvd.value == pytest.approx(0, abs=1e-6) and kvd.value < 0


def test_a_network_runs_once_on_each_clip_and_never_twice_on_the_reals(toy):
    real = ArraySource(noise(20, 0))
    scoring.score(ArraySource(noise(20, 1)), real, metrics=["fvd", "kvd", "prdc", "prdc-recall"])
    assert toy.seen == 40
    scoring.score(ArraySource(noise(20, 2)), real, metrics=["fvd"])
    assert toy.seen == 60
    scoring.score(ArraySource(noise(20, 2)), real, metrics=["fvd"])
    assert toy.seen == 60


def test_a_damaged_file_of_the_cache_is_made_anew(toy, home):
    real, fake = ArraySource(noise(16, 0)), ArraySource(noise(16, 1))
    (first,) = scoring.score(fake, real, metrics=["fvd"])
    for path in (home / "cache").rglob("*.npy"):
        path.write_bytes(path.read_bytes()[:50])
    (again,) = scoring.score(fake, real, metrics=["fvd"])
    assert again.value == first.value and toy.seen == 64


def test_frames_are_rows_and_clips_are_what_is_left_out(toy):
    real, fake = noise(12, 0), noise(12, 1)
    (row,) = scoring.score(ArraySource(fake), ArraySource(real), metrics=["fid"])
    frames = [clips.reshape(-1, 48, 3).mean(axis=1) for clips in (real, fake)]
    assert row.value == pytest.approx(frechet(*frames), rel=1e-4) and row.n == 12


def test_a_protocol_says_which_frames_and_samples(toy):
    protocol = replace(
        tiny.protocol(), samples=3, metrics=("fvd", "diversity"), metric_samples={"fvd": 1}, metric_frames={}
    )
    protocol = replace(protocol, scored="predicted")
    real = Named({f"test/{n}": clip for n, clip in enumerate(noise(10, 0))})
    made = {f"test/{n}@0#{k}": noise(1, 100 + 10 * n + k)[0] for n in range(10) for k in range(3)}
    fvd, diversity = scoring.score(Named(made), real, protocol)
    first = np.stack([made[f"test/{n}@0#0"][2:] for n in range(10)])
    truth = np.stack([clip[2:] for clip in noise(10, 0)])
    assert fvd.value == pytest.approx(frechet(colours(truth), colours(first)), rel=1e-5)
    rows = np.stack([[colours(made[f"test/{n}@0#{k}"][None, 2:])[0] for k in range(3)] for n in range(10)])
    assert diversity.value == pytest.approx(2 * rows.var(axis=1, ddof=1).mean(), rel=1e-5)
    assert "|10x1|" in fvd.signature and "|10x3|" in diversity.signature and diversity.floor is None


def test_groups_give_mean_and_deviation(toy):
    protocol = replace(tiny.protocol(), metrics=("fvd",), metric_frames={}, groups_of=8)
    real = Named({f"test/{n}": clip for n, clip in enumerate(noise(16, 0))})
    made = noise(16, 1)
    (row,) = scoring.score(Named({f"test/{n}": clip for n, clip in enumerate(made)}), real, protocol)
    values = frechet_by_groups(colours(noise(16, 0)), colours(made), 8)
    assert row.value == pytest.approx(values.mean(), rel=1e-5) and ":8|" in row.signature
    assert row.high - row.value == pytest.approx(values.std(), rel=1e-4)


def test_a_release_that_drops_the_last_batch(toy):
    protocol = replace(tiny.protocol(), metrics=("fvd",), metric_frames={}, metric_batches={"fvd": "8 clips"})
    real = Named({f"test/{n}": clip for n, clip in enumerate(noise(19, 0))})
    made = noise(19, 1)
    (row,) = scoring.score(Named({f"test/{n}": clip for n, clip in enumerate(made)}), real, protocol)
    assert row.value == pytest.approx(frechet(colours(noise(19, 0))[:16], colours(made)[:16]), rel=1e-5)


def test_unconditional_clips_have_no_partners(toy):
    protocol = replace(
        tiny.protocol(), context=0, predict=6, generated=9, metrics=("fvd",), metric_frames={}, select=Select("first")
    )
    real = Named({f"test/{n}": clip for n, clip in enumerate(noise(12, 0))})
    made = noise(9, 1)
    (row,) = scoring.score(ArraySource(made), real, protocol)
    assert row.value == pytest.approx(frechet(colours(noise(12, 0)), colours(made)), rel=1e-5)
    with pytest.raises(VbenchError, match="no metric can compare clip with clip"):
        scoring.score(ArraySource(made), real, protocol, ["psnr"])
    with pytest.raises(VbenchError, match="8 clips, tiny-c2-p4@1 asks for 9"):
        scoring.score(ArraySource(made[:8]), real, protocol)


def test_the_real_set_may_be_another_draw(toy):
    protocol = replace(
        tiny.protocol(), metrics=("fvd", "psnr"), metric_frames={}, reals=Select("first", "subset", cases=7, seed=1)
    )
    clips = noise(12, 0)
    real = Named({f"test/{n}": clip for n, clip in enumerate(clips)})
    fvd, psnr = scoring.score(real, real, protocol)
    chosen = [int(case.clip[5:]) for case in protocols.real_cases(protocol, [(i, 6) for i in real.ids])]
    assert fvd.value == pytest.approx(frechet(colours(clips[chosen]), colours(clips)), rel=1e-5)
    assert "|12x1/7|" in fvd.signature and psnr.value == 100 and psnr.n == 12
    assert toy.seen == 12 + 7  # windows that are not of the real set cost nothing


def test_without_its_weights_a_metric_says_how_to_get_them():
    clips = ArraySource(noise(4, 0))
    fvd, psnr = scoring.score(clips, clips, metrics=["fvd", "psnr"])
    assert fvd.value is None and fvd.note == 'n/a: no weights "i3d-k400"; run "vbench-ctl weights fetch i3d-k400"'
    assert psnr.value == 100


def test_features_that_are_not_finite_are_named(toy, monkeypatch):
    monkeypatch.setattr(toy, "features", lambda clips, **options: np.full((len(clips), 3), np.nan, np.float32))
    with pytest.raises(VbenchError, match=r'not finite for 5 of 5 clips, the first is clip "00000"'):
        scoring.score(ArraySource(noise(5, 1)), ArraySource(noise(5, 0)), metrics=["fvd"])


def test_one_clip_is_no_set(toy):
    with pytest.raises(VbenchError, match="expected at least 2"):
        scoring.score(ArraySource(noise(1, 1)), ArraySource(noise(5, 0)), metrics=["fvd"])


# With the real networks


def place_with(weights: Path, root: Path) -> Place:
    """Return a place with these weights and an empty cache."""
    root.mkdir()
    (root / "weights").symlink_to(weights / "weights", target_is_directory=True)
    return Place(str(root))


@pytest.fixture
def place(real_weights, home) -> Place:
    place = place_with(real_weights, home)
    networks.use(place)
    return place


def test_black_against_white_is_the_published_distance(place):
    """JunyaoHu/common_metrics_on_video_quality README; constant clips have no covariance."""
    black = np.zeros((2, 16, 32, 32, 3), np.uint8)
    (row,) = scoring.score(ArraySource(black), ArraySource(black + 255), metrics=["fvd"], place=place)
    assert row.value == pytest.approx(152.9019, rel=1e-4)
    assert row.signature.startswith("fvd|default|i3d-k400:9480e9ea|16f|")


def test_one_process_and_two_give_the_same_scores(real_weights, tmp_path):
    real, fake = (ArraySource(noise(9, seed, 9, (32, 32))) for seed in (0, 1))
    one, two = (
        scoring.score(
            fake,
            real,
            metrics=["fvd", "lpips"],
            place=place_with(real_weights, tmp_path / str(workers)),
            workers=workers,
        )
        for workers in (1, 2)
    )
    assert [row.value for row in one] == [row.value for row in two]


MODELS = {"MoCoGAN": 0.347, "MoCoGAN+": 0.166, "SAVP": 0.297, "SAVP+": 0.150, "CADDY": 0.186}


@pytest.mark.parametrize(
    "model", [pytest.param(m, marks=[] if m in ("MoCoGAN", "SAVP+") else [pytest.mark.slow]) for m in MODELS]
)
def test_lpips_of_published_models(place, shared, model):
    """Real BAIR clips and five models' reconstructions; the values were measured apart from this code."""
    path = shared / "samples/caddy_grids/bair_reconstructions.mp4"
    if not path.exists():
        pytest.skip("no BAIR grid in the shared reference data")
    grid = video.read(path).frames[1:60:4]
    real, fake = (
        ArraySource([grid[:, row * 256 :, 52 + column * 256 :][:, :256, :256] for column in range(7)])
        for row in (0, 1 + list(MODELS).index(model))
    )
    (row,) = scoring.score(fake, real, metrics=["lpips"], place=place)
    assert row.value == pytest.approx(MODELS[model], abs=0.002)


def test_frames_too_small_for_a_network_are_refused(place):
    small = ArraySource(noise(2, 0, 9, (16, 16)))
    with pytest.raises(VbenchError, match="16x16 and lpips with alex needs at least 31x31"):
        scoring.score(small, small, metrics=["lpips"], place=place)
    short = ArraySource(noise(2, 0, 8, (16, 16)))
    with pytest.raises(VbenchError, match="8 frames and this network needs at least 9"):
        scoring.score(short, short, metrics=["fvd"], place=place)


def test_identity_does_not_depend_on_the_file(place):
    assert networks.identity(Features("i3d", "i3d-k400")) == "i3d-k400:9480e9ea"


def test_statistics_stand_for_a_real_set(tmp_path, toy):
    """G3AN publishes mu and sigma of its real videos; the distance to them is that to the clips they were made of."""
    rng = np.random.default_rng(5)
    real, fake = (
        ArraySource(rng.integers(256, size=(40, 16, 8, 8, 3), dtype=np.uint8), name) for name in ("real", "fake")
    )
    (whole,) = scoring.score(fake, real, metrics=["vfid"])
    features = np.concatenate([toy.features(clip[None]) for clip in real.clips]).astype(np.float64)
    path = tmp_path / "stats.npz"
    np.savez(path, mu=features.mean(0), sigma=np.cov(features, rowvar=False))
    (row,) = scoring.score(fake, ArraySource([], "stats"), metrics=["vfid"], real_stats=path)
    assert row.value == pytest.approx(whole.value, rel=1e-6) and row.low == pytest.approx(whole.low, rel=1e-5)
    assert ",real-stats-" in row.signature and row.floor is None and row.n == 40
    with pytest.raises(UsageError, match="kvd needs the real clips themselves"):
        scoring.score(fake, ArraySource([], "stats"), metrics=["kvd"], real_stats=path)
    with pytest.raises(VbenchError, match=r"not a readable \.npz file"):
        path.write_bytes(b"no statistics")
        scoring.score(fake, ArraySource([], "stats"), metrics=["vfid"], real_stats=path)
