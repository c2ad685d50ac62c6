"""Scores of whole sets through the one pass of `score`: with a toy network, and with the real ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from tiny import Named, colours, noise

from vbench_ctl import measuring, networks, protocols, scoring, tokens, video
from vbench_ctl.cli import Failure, main
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.metrics import fvd
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
    assert row.note == "20 generated clips against 30 real ones; only 20 clips: below 256 it is biased upwards"
    assert row.floor > 0


def test_weights_of_the_users_own_name_the_score(toy):
    real, fake = ArraySource(noise(16, 0)), ArraySource(noise(16, 1))
    found = scoring.score(fake, real, metrics=["dtfvd-1a2b3c4d", "dtfvd-0a2b3c4d", "dtfvd"])
    assert [row.metric for row in found] == ["dtfvd-1a2b3c4d", "dtfvd-0a2b3c4d", "dtfvd"]
    starts = ["dtfvd|1a2b3c4d|dti3d-16-1a2b3c4d:", "dtfvd|0a2b3c4d|dti3d-16-0a2b3c4d:", "dtfvd|default|dti3d-16:"]
    assert all(row.signature.startswith(start) for row, start in zip(found, starts, strict=True))
    assert tokens.token_like(found[0].signature) == "dtfvd-1a2b3c4d"
    assert tokens.metric("dtfvd-32-1a2b3c4d").features.weights == "dti3d-32-1a2b3c4d"
    assert tokens.metric("diversity-dti3d-1a2b3c4d").features.weights == "dti3d-16-1a2b3c4d"
    for other in (
        *("dtfvd-1a2b3c4", "psnr-1a2b3c4d", "dtfvd-64-1a2b3c4d", "lpips-1a2b3c4d"),
        *("diversity-pixel-1a2b3c4d", "diversity-dti3d-1a2b"),
    ):
        with pytest.raises(UsageError, match="no variant of"):
            tokens.metric(other)


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
    order = np.random.default_rng(0).permutation(16)
    halves = [colours(noise(16, 0))[np.sort(half)] for half in np.split(order, 2)]
    assert row.floor == pytest.approx(frechet_by_groups(*halves, 8).mean(), rel=1e-4)
    (less,) = scoring.score(
        Named({f"test/{n}": clip for n, clip in enumerate(made)}), real, replace(protocol, groups_of=16)
    )
    assert less.value > 0 and less.floor is None


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
    assert toy.seen == 12  # windows that are not of the real set cost nothing, and the others are the same clips again


@pytest.mark.parametrize(
    ("token", "says"),
    [("dtfvd", "first 16"), ("vfid", "middle 16"), ("vfid-evan", "middle 16"), ("dtfvd-32", ""), ("fvd", "")],
)
def test_that_a_network_sees_fewer_frames_is_noted(toy, token, says):
    """The signature keeps saying what was given."""
    for frames in (16, 20):
        real, fake = (ArraySource(noise(8, seed, frames)) for seed in (0, 1))
        (row,) = scoring.score(fake, real, metrics=[token])
        noted = f"of the {frames} frames the {says} are scored"
        assert (noted in row.note) == (frames == 20 and says != "") and f"|{frames}f|8x1|" in row.signature


def test_without_its_weights_a_metric_says_how_to_get_them():
    clips = ArraySource(noise(4, 0))
    fvd, psnr = scoring.score(clips, clips, metrics=["fvd", "psnr"])
    assert fvd.value is None and fvd.note == 'n/a: no weights "i3d-k400"; run "vbench-ctl weights fetch i3d-k400"'
    assert psnr.value == 100


def test_features_that_are_not_finite_are_named(toy, monkeypatch):
    monkeypatch.setattr(toy, "features", lambda clips, **options: np.full((len(clips), 3), np.nan, np.float32))
    (row,) = scoring.score(ArraySource(noise(5, 1)), ArraySource(noise(5, 0)), metrics=["fvd"])
    assert row.value is None and 'not finite for 5 of 5 clips, the first is clip "00000"' in row.note


def test_a_metric_that_fails_leaves_the_others_their_rows(toy, tmp_path, capsys):
    """Too few clips for one, frames of another size for none; only where all fail does the command."""
    real, fake = ArraySource(noise(4, 0)), ArraySource(noise(4, 1))
    prdc, psnr, prefix = scoring.score(fake, real, metrics=["prdc", "psnr", "fvd-prefix"])
    assert prdc.value is None and prdc.note.startswith("n/a: 5 neighbours among 4 real and 4 generated clips")
    assert prefix.value is None and "the clips have 6 to 6 frames" in prefix.note and psnr.value > 0
    for name, source in (("real", real), ("fake", fake)):
        np.save(tmp_path / f"{name}.npy", np.stack(source.clips))
    words = ["score", str(tmp_path / "fake.npy"), "--real", str(tmp_path / "real.npy"), "--device", "cpu", "--metrics"]
    assert main([*words, "prdc,psnr"], standalone_mode=False) is None
    assert main([*words, "prdc,fvdinf"], standalone_mode=False) == 1
    assert main([*words, "prdc", "--json"], standalone_mode=False) == 1
    assert "prdc: n/a: 5 neighbours" in capsys.readouterr().err


def test_a_metric_that_failed_is_asked_for_no_further_clips(toy, monkeypatch):
    asked = []

    def broken(features, clips):
        asked.append(1)
        raise VbenchError("broken")

    monkeypatch.setattr(networks, "where", broken)
    (row,) = scoring.score(ArraySource(noise(30, 1)), ArraySource(noise(30, 0)), metrics=["fvd"])
    assert row.note == "n/a: broken" and len(asked) == 1


def test_a_clip_is_known_again_whatever_is_scored_beside_it(toy):
    """Another number of fakes, other metrics, other samples: chunks differ and clips do not."""
    real = noise(20, 0)
    scoring.score(ArraySource(noise(20, 1)), ArraySource(real), metrics=["fvd"])
    scoring.score(ArraySource(noise(17, 2)), ArraySource(real), metrics=["fvd"])
    assert toy.seen == 40 + 17
    scoring.score(ArraySource(noise(20, 1)), ArraySource(real), metrics=["fvd", "psnr"])
    assert toy.seen == 57
    protocol = tiny.protocol(samples=3, metrics=("fvd", "diversity"), metric_frames={})
    made = {f"test/{n}@0#{k}": noise(1, 100 + 10 * n + k)[0] for n in range(20) for k in range(3)}
    cases = Named({f"test/{n}": clip for n, clip in enumerate(real)})
    scoring.score(Named(made), cases, protocol)
    assert toy.seen == 57 + 60
    first = {name: clip for name, clip in made.items() if name.endswith("#0")}
    scoring.score(Named(first), cases, replace(protocol, samples=1), ["fvd"])
    assert toy.seen == 57 + 60


def test_few_clips_on_either_side_are_said_and_samples_are_no_clips(toy):
    (row,) = scoring.score(ArraySource(noise(300, 0, 1, (2, 2))), ArraySource(noise(20, 1, 1, (2, 2))), metrics=["fvd"])
    assert row.note == "300 generated clips against 20 real ones; only 20 real clips: below 256 it is biased upwards"
    protocol = tiny.protocol(samples=16, metrics=("fvd",), metric_frames={})
    real = Named({f"test/{n}": clip for n, clip in enumerate(noise(16, 0))})
    made = {f"test/{n}@0#{k}": noise(1, 100 * n + k)[0] for n in range(16) for k in range(16)}
    (row,) = scoring.score(Named(made), real, protocol)
    assert "|16x16|" in row.signature and row.note == "only 16 clips: below 256 it is biased upwards"


def test_whole_clips_of_unlike_lengths_are_said(toy):
    fvd, fid = scoring.score(ArraySource(noise(5, 0)), ArraySource(noise(5, 1, 9)), metrics=["fvd", "fid"])
    assert "the generated clips have 6 frames and the real ones 9; cut them to one length" in fvd.note
    assert "cut them" not in fid.note and "|6-9f|" in fvd.signature
    mixed = [*noise(3, 0), *noise(3, 1, 9)]
    (row,) = scoring.score(ArraySource(mixed), ArraySource(mixed[::-1]), metrics=["fvd"])
    assert "cut them" not in row.note


def test_one_clip_is_no_set(toy):
    (row,) = scoring.score(ArraySource(noise(1, 1)), ArraySource(noise(5, 0)), metrics=["fvd"])
    assert row.value is None and "expected at least 2" in row.note


def test_coverage_has_no_interval_where_clips_cannot_be_left_out(toy):
    for count, interval in ((6, False), (7, True)):
        (row,) = scoring.score(ArraySource(noise(count, 1)), ArraySource(noise(6, 0)), metrics=["prdc"])
        assert 0 <= row.value <= 1 and (row.low is not None) is interval
        assert ("too few to leave any out" in row.note) is not interval


# Signatures asked for


def test_a_default_may_bear_its_own_name(toy):
    real, fake = ArraySource(noise(8, 0)), ArraySource(noise(8, 1))
    rows = scoring.score(fake, real, metrics=["fvd-tf", "fvd", "fid-legacy_pytorch", "fid-legacy_tensorflow"])
    assert [row.metric for row in rows] == ["fvd", "fid", "fid-tensorflow"]
    named = "fvd|tf|i3d-k400:01234567|6f|8x1|ddof1|v1"
    assert tokens.token_like(named) == "fvd"
    tokens.check_like(rows[0], named)
    with pytest.raises(VbenchError, match=r"differs in clips x samples 9x1 / 8x1$"):
        tokens.check_like(rows[0], named.replace("8x1", "9x1"))


@pytest.mark.parametrize(
    "token",
    [*(f"fvd-{name}" for name, how in fvd.VARIANTS.items() if how.get("pipeline") == name), "fvd-styleganv-01234567"],
)
def test_a_pipeline_may_be_said_once_and_blanks_pasted_along(toy, token):
    """As a variant it need not be said in the computation as well."""
    real, fake = ArraySource(noise(8, 0)), ArraySource(noise(8, 1))
    (row,) = scoring.score(fake, real, metrics=[token])
    head, (computation, version) = row.signature.split("|")[:-2], row.signature.split("|")[-2:]
    pipeline = row.metric.partition("-")[2].removesuffix("-01234567")
    once = computation.removeprefix(f"{pipeline},")
    assert once != computation
    for said in (computation, once):
        wanted = f" {' | '.join(head)}|{said}|{version}\n"
        (again,) = scoring.score(fake, real, metrics=[tokens.token_like(wanted)], like=wanted)
        assert again.signature == row.signature
        tokens.check_like(again, wanted)


def test_the_aggregate_of_a_signature_is_asked_for(toy):
    protocol = tiny.protocol(samples=3, metric_frames={})
    real = Named({f"test/{n}": clip for n, clip in enumerate(noise(4, 0))})
    made = Named({f"test/{n}@0#{k}": noise(1, 10 * n + k)[0] for n in range(4) for k in range(3)})
    for token in ("psnr@best", "psnr@worst", "psnr"):
        (row,) = scoring.score(made, real, protocol, [token])
        (again,) = scoring.score(made, real, protocol, [tokens.token_like(row.signature)], like=row.signature)
        assert again.signature == row.signature and again.value == row.value


def test_what_will_differ_is_said_before_the_work(toy, monkeypatch, tmp_path):
    real, fake = ArraySource(noise(8, 0)), ArraySource(noise(8, 1))
    (row,) = scoring.score(fake, real, metrics=["fvd"])
    monkeypatch.setattr(measuring, "score_chunk", None)
    for old, new, field in (("01234567", "89abcdef", "network"), ("ddof1", "ddof0", "computation")):
        with pytest.raises(VbenchError, match=f"^fvd would differ from that signature in {field} [^|]*$"):
            scoring.score(fake, real, metrics=["fvd"], like=row.signature.replace(old, new))
    np.save(tmp_path / "clips.npy", noise(3, 0))
    with pytest.raises(Failure, match='"" is no signature'):
        words = ["score", str(tmp_path / "clips.npy"), "--real", str(tmp_path / "clips.npy"), "--like", ""]
        main(words, standalone_mode=False)


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
    small, short = ArraySource(noise(2, 0, 9, (16, 16))), ArraySource(noise(2, 0, 8, (16, 16)))
    (lpips,) = scoring.score(small, small, metrics=["lpips"], place=place)
    assert lpips.value is None and "16x16 and lpips with alex needs at least 31x31" in lpips.note
    (fvd,) = scoring.score(short, short, metrics=["fvd"], place=place)
    assert fvd.value is None and "8 frames and this network needs at least 9" in fvd.note


def test_distances_of_a_pair_are_computed_once(place, monkeypatch):
    """All metrics on LPIPS look at the same ones, and so does the next command."""
    extractor = networks.extractor(tokens.metric("lpips").features)
    seen = []
    monkeypatch.setattr(
        extractor, "maps", lambda frames, whole=extractor.maps, **how: seen.append(len(frames)) or whole(frames, **how)
    )
    real, fake = (ArraySource(noise(3, seed, 4, (32, 40))) for seed in (0, 1))
    names = ["lpips", "drift-lpips", "drift-lpips-area", "lpips-spatial"]
    first, again = (scoring.score(fake, real, metrics=names, place=place) for _ in range(2))
    assert sum(seen) == 3 * 4 * 2 and [row.value for row in first] == [row.value for row in again]
    for row, column in ((first[0], 0), (first[3], 1)):
        whole = [extractor.between(a, b)[:, column] for a, b in zip(real.clips, fake.clips, strict=True)]
        assert row.value == pytest.approx(np.mean(whole), rel=1e-6)
    assert first[0].value != first[3].value


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
    with pytest.raises(UsageError, match=r"fvd-styleganv divides covariances by N, which .* does not say"):
        scoring.score(fake, ArraySource([], "stats"), metrics=["fvd", "fvd-styleganv"], real_stats=path)
    with pytest.raises(VbenchError, match=r"not a readable \.npz file"):
        path.write_bytes(b"no statistics")
        scoring.score(fake, ArraySource([], "stats"), metrics=["vfid"], real_stats=path)
