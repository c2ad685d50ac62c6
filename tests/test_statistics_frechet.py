"""Moments and the Frechet distance: closed forms, recorded numbers, agreement of all ways to compute it, bad input."""

import io
import tracemalloc

import numpy as np
import pytest
from scipy import linalg

from vbench_ctl.errors import VbenchError
from vbench_ctl.statistics import frechet as frechet_module
from vbench_ctl.statistics.frechet import (
    Against,
    frechet,
    frechet_by_groups,
    frechet_infinity,
    frechet_jackknife,
)
from vbench_ctl.statistics.moments import Gaussian, Moments, load
from vbench_ctl.statistics.resampling import blocks, jackknife, jackknifed


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def correlated(rng, clips, dimensions, shift=0.0, decay=3.0):
    """Features whose directions have standard deviations from 1 down to exp(-decay), mixed."""
    scales = np.exp(-np.linspace(0, decay, dimensions))
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(dimensions, dimensions)))[0]
    return (rng.normal(size=(clips, dimensions)) * scales) @ turn + shift


def sqrtm_distance(a, b, ddof=1):
    covs = [np.cov(x, rowvar=False, ddof=ddof) for x in (a, b)]
    root = linalg.sqrtm(covs[0] @ covs[1])
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(covs[0] + covs[1]) - 2 * np.trace(root).real


# Moments


@pytest.mark.parametrize("size", [1, 3, 64, 999, 5000])
def test_moments_do_not_depend_on_the_blocks(rng, size):
    features = correlated(rng, 2500, 12, shift=5)
    moments = Moments()
    for at in range(0, len(features), size):
        moments.add(features[at : at + size])
    assert moments.n == 2500
    np.testing.assert_allclose(moments.mean, features.mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.cov(), np.cov(features, rowvar=False), atol=1e-12)
    np.testing.assert_allclose(moments.cov(ddof=0), np.cov(features, rowvar=False, ddof=0), atol=1e-12)


def test_moments_merge_in_any_order_and_come_apart_again(rng):
    parts = [correlated(rng, n, 6, shift=n) for n in (1, 2, 50, 300)]
    whole = Moments.of(np.concatenate(parts))
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        merged = Moments()
        for index in order:
            merged.merge(Moments.of(parts[index]))
        np.testing.assert_allclose(merged.m2, whole.m2, rtol=1e-10)
        np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-10)
    merged.merge(Moments())
    assert merged.n == whole.n
    rest, kept = whole.without(Moments.of(parts[2])), Moments.of(np.concatenate([parts[0], parts[1], parts[3]]))
    assert rest.n == kept.n
    np.testing.assert_allclose(rest.mean, kept.mean, rtol=1e-10)
    np.testing.assert_allclose(rest.cov(), kept.cov(), atol=1e-9)


def test_merging_leaves_the_other_alone(rng):
    total, part = Moments(), Moments.of(rng.normal(size=(5, 3)))
    before = part.m2.copy()
    total.merge(part)
    total.add(rng.normal(size=(5, 3)))
    np.testing.assert_array_equal(part.m2, before)


@pytest.mark.parametrize("block", [7, 1000])
def test_a_mean_far_larger_than_the_deviation_does_not_cancel(rng, block):
    small = rng.integers(-8, 9, size=(1000, 4)) / 8  # exact beside 1e8
    moments = Moments()
    for at in range(0, 1000, block):
        moments.add(small[at : at + block] + 1e8)
    np.testing.assert_allclose(moments.cov(), np.cov(small, rowvar=False), atol=1e-7)


def test_float32_features_are_summed_in_float64(rng):
    features = correlated(rng, 500, 5, shift=100).astype(np.float32)
    np.testing.assert_allclose(
        Moments.of(features).cov(), np.cov(features.astype(np.float64), rowvar=False), atol=1e-12
    )


def test_pytorch_fid_files_are_read(rng, tmp_path):
    real, fake = correlated(rng, 50, 4), correlated(rng, 60, 4, shift=1)
    np.savez(tmp_path / "theirs.npz", mu=real.mean(0), sigma=np.cov(real, rowvar=False))
    theirs = load(tmp_path / "theirs.npz")
    assert isinstance(theirs, Gaussian)
    assert frechet(theirs, fake) == pytest.approx(frechet(real, fake), rel=1e-10)
    with pytest.raises(VbenchError, match="does not say N"):
        frechet(theirs, fake, ddof=0)


def npz(**arrays):
    held = io.BytesIO()
    np.savez(held, **arrays)
    return held.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a zip file",
        npz(mu=np.zeros(3), sigma=np.eye(3))[:-40],
        npz(mu=np.zeros(3)),
        npz(mu=np.zeros(3), sigma=np.eye(4)),
        npz(mu=np.zeros(3), sigma=np.full((3, 3), np.nan)),
        npz(mu=np.zeros(2), sigma=np.array([[1.0, 0.5], [0.1, 1.0]])),
        npz(mu=np.array([None] * 3), sigma=np.eye(3)),
    ],
)
def test_a_broken_file_is_named(tmp_path, content):
    (tmp_path / "broken.npz").write_bytes(content)
    with pytest.raises(VbenchError, match=r"broken\.npz.*compute the statistics again"):
        load(tmp_path / "broken.npz")


def test_too_few_clips_for_a_covariance():
    moments = Moments.of(np.ones((1, 3)))
    with pytest.raises(VbenchError, match="at least 2"):
        moments.cov()
    with pytest.raises(VbenchError, match="at least 1 has to stay"):
        moments.without(moments)


def test_blocks_of_another_network_or_shape_are_refused(rng):
    moments = Moments.of(rng.normal(size=(4, 3)))
    with pytest.raises(VbenchError, match=r"3 dimensions.* 5"):
        moments.add(np.zeros((2, 5)))
    with pytest.raises(VbenchError, match=r"\(3,\), expected real numbers"):
        moments.add(np.zeros(3))
    bad = np.zeros((2000, 3))
    bad[1500, 1] = np.nan
    with pytest.raises(VbenchError, match="clip number 1504 "):
        moments.add(bad)


# The distance: closed forms and recorded numbers


def test_fixtures(fixture_sets):
    x, y = fixture_sets
    assert frechet(x, y) == pytest.approx(2.33653692078453, rel=1e-12)
    assert frechet(x, y, ddof=0) == pytest.approx(2.31530784468599, rel=1e-12)
    trace = np.trace(np.cov(x.T) + np.cov(y.T)) + ((x.mean(0) - y.mean(0)) ** 2).sum() - frechet(x, y)
    assert trace / 2 == pytest.approx(5.10759663874401, rel=1e-12)
    assert frechet(x[:5], y[:5]) == pytest.approx(8.77571043266238, rel=1e-12)


@pytest.fixture
def fixture_sets():
    n, d = np.ogrid[:40, :8]
    return np.sin(0.7 * n * (d + 1) + 0.1 * d), 1.3 * np.cos(0.5 * n * (d + 1) + 0.2 * d) + 0.1 * d


def test_shifted_gaussians_are_apart_by_the_squared_shift(rng):
    features = correlated(rng, 200, 6)
    assert frechet(features, features + 2) == pytest.approx(24)
    wide = Gaussian(np.zeros(2048), np.eye(2048)), Gaussian(np.ones(2048), np.eye(2048))
    assert frechet(*wide) == pytest.approx(2048, rel=1e-12)


def test_commuting_covariances_have_a_closed_form(rng):
    turn = np.linalg.qr(rng.normal(size=(7, 7)))[0]
    a, b = rng.uniform(0.1, 3, (2, 7))
    sets = [Gaussian(np.zeros(7), (turn * variances) @ turn.T) for variances in (a, b)]
    assert frechet(*sets) == pytest.approx(((np.sqrt(a) - np.sqrt(b)) ** 2).sum(), rel=1e-10)
    assert frechet(np.array([[-1.0], [1.0]]), np.array([[-3.0], [3.0]])) == pytest.approx(8)  # (sqrt 2 - sqrt 18)^2


@pytest.mark.parametrize("clips", [3, 20, 41, 60, 400])
def test_all_ways_agree_and_none_has_a_side(rng, clips):
    real, fake = correlated(rng, 90, 40), correlated(rng, clips, 40, shift=0.1) * 1.2
    value = frechet(real, fake)
    assert value == pytest.approx(frechet(fake, real), rel=1e-10)
    assert value == pytest.approx(frechet(Moments.of(real), Moments.of(fake)), rel=1e-10)
    assert value == pytest.approx(frechet(real, Moments.of(fake)), rel=1e-10)
    assert value == pytest.approx(Against(real, fake).distance(np.arange(clips)), rel=1e-6)
    assert value == pytest.approx(sqrtm_distance(real, fake), rel=1e-6)
    assert frechet(real, fake, ddof=0) == pytest.approx(frechet(Moments.of(real), Moments.of(fake), ddof=0), rel=1e-10)


@pytest.mark.parametrize("decay", [0, 8, 14])
def test_the_three_roots_agree_however_ill_conditioned(rng, decay, monkeypatch):
    sets = correlated(rng, 300, 50, decay=decay), correlated(rng, 250, 50, shift=0.01, decay=decay)
    moments = [Moments.of(features) for features in sets]
    fast = frechet(*moments)
    monkeypatch.setattr(frechet_module, "_root_trace_by_eigenvalues", lambda a, b: None)
    careful = frechet(*moments)
    monkeypatch.setattr(frechet_module, "_root", eigenvector_root)
    assert fast == pytest.approx(careful, rel=1e-9)
    assert careful == pytest.approx(frechet(*moments), rel=1e-9)


def eigenvector_root(cov):
    values, vectors = np.linalg.eigh(cov)
    return vectors * np.sqrt(values.clip(min=0))


@pytest.mark.parametrize("clips", [2, 10, 30, 31, 32, 200])
@pytest.mark.parametrize("dead", [0, 20])
def test_identical_sets_are_at_0(rng, clips, dead):
    features = 30 * correlated(rng, clips, 30, shift=4)
    features[:, :dead] = 1.5
    assert 0 <= frechet(features, features.copy()) < 1e-6
    assert 0 <= frechet(Moments.of(features), Moments.of(features)) < 1e-6
    assert 0 <= frechet(Moments.of(features), features) < 1e-6


def test_constant_videos_have_only_the_mean_term(rng):
    black, white = np.zeros((8, 5)), np.full((9, 5), 2.0)
    assert frechet(black, white) == 20
    assert frechet(Moments.of(black), Moments.of(white)) == 20
    assert frechet(black, black) == 0
    moving = rng.normal(size=(30, 5))
    assert frechet(black, moving) == pytest.approx((moving.mean(0) ** 2).sum() + moving.var(0, ddof=1).sum())


def test_copied_clips_make_a_rank_too_low_and_no_nan(rng):
    real, fake = np.repeat(correlated(rng, 6, 40), 20, axis=0), np.repeat(correlated(rng, 9, 40), 20, axis=0)
    n, m = len(real), len(fake)
    rows = [(x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (real, fake)]
    exact = ((real.mean(0) - fake.mean(0)) ** 2).sum() + sum((r**2).sum() for r in rows)
    exact -= 2 * np.linalg.svd(rows[0] @ rows[1].T, compute_uv=False).sum()
    assert n > 40 and m > 40
    assert frechet(real, fake) == pytest.approx(exact, rel=1e-7)


@pytest.mark.parametrize("size", [1e-12, 1e12])
def test_the_distance_scales_with_the_square(rng, size):
    real, fake = correlated(rng, 80, 10), correlated(rng, 80, 10, shift=0.3)
    assert frechet(real * size, fake * size) == pytest.approx(size**2 * frechet(real, fake), rel=1e-9)


def test_order_of_clips_and_type_do_not_matter(rng):
    real, fake = (correlated(rng, 70, 10, shift=s).astype(np.float32) for s in (0, 0.2))
    shuffled = frechet(rng.permutation(real), rng.permutation(fake).astype(np.float64))
    assert frechet(real, fake) == pytest.approx(shuffled, rel=1e-10)


def test_features_are_not_changed(rng):
    real, fake = correlated(rng, 20, 30, shift=1), correlated(rng, 50, 30)
    before = real.copy(), fake.copy()
    frechet(real, fake)
    frechet_jackknife(real, fake)
    np.testing.assert_array_equal(real, before[0])
    np.testing.assert_array_equal(fake, before[1])


# Recorded numbers of the releases


@pytest.mark.parametrize(
    ("case", "tolerance"),
    [("full", 1e-8), ("rank_deficient", 1e-7), ("constant_feature", 1e-8), ("f32", 1e-6)],
)
def test_g3an(shared, case, tolerance):
    with np.load(shared / "golden/g3an/io_frechet.npz") as golden:
        real, fake = golden[f"in/{case}/A"], golden[f"in/{case}/B"]
        ours = frechet(real, fake)
        assert ours == pytest.approx(float(golden[f"derived/{case}/distance_symmetric_float64"]), rel=tolerance)
        assert ours == pytest.approx(float(golden[f"out/{case}/distance"]), rel=tolerance)
        np.testing.assert_allclose(Moments.of(real).cov(), golden[f"out/{case}/sigma_A"], rtol=1e-7, atol=1e-12)


def test_g3an_with_its_means_in_float32(shared):
    with np.load(shared / "golden/g3an/io_frechet.npz") as golden:
        features = [golden[f"in/large_offset/{side}"] for side in "AB"]
        recorded = float(golden["out/large_offset/distance"])
    released = [Gaussian(x.mean(0), Moments.of(x).cov()) for x in features]
    assert released[0].mean.dtype == np.float32
    assert frechet(*released) == pytest.approx(recorded, rel=1e-6)
    # Beside an offset of 1000 such a mean is off by 3e-5, which our float64 mean is not.
    assert frechet(*features) == pytest.approx(recorded, rel=1e-3)
    assert frechet(*features) == pytest.approx(frechet(*(x.astype(np.float64) - 1000 for x in features)), rel=1e-9)


def test_g3an_identical_and_where_the_release_fails(shared):
    with np.load(shared / "golden/g3an/io_frechet.npz") as golden:
        assert frechet(golden["in/identical/A"], golden["in/identical/B"]) == pytest.approx(0, abs=1e-6)
    with np.load(shared / "golden/g3an/io_fid_pipeline.npz") as golden:  # 5 and 4 clips, 2048 dimensions
        ours = frechet(golden["out/a/features"], golden["out/b/features"])
        assert ours == pytest.approx(float(golden["derived/frechet_2048_exact"]), rel=1e-6)


@pytest.mark.parametrize("case", ["full", "shifted", "lowrank", "d1"])
def test_cinn(shared, case):
    with np.load(shared / "golden/cinn/io_frechet.npz") as golden:
        ours = frechet(golden[f"in/{case}/a"], golden[f"in/{case}/b"])
        assert ours == pytest.approx(float(golden[f"out/{case}/frechet"]), rel=1e-7)


def test_cinn_same_diagonal_and_dic(shared):
    with np.load(shared / "golden/cinn/io_frechet.npz") as golden:
        assert frechet(golden["in/same/a"], golden["in/same/b"]) == pytest.approx(0, abs=1e-6)
        a, b = (Gaussian(golden[f"in/diag/mean_{s}"], np.diag(golden[f"in/diag/var_{s}"])) for s in "ab")
        assert frechet(a, b) == pytest.approx(float(golden["out/diag/closed_form"]), rel=1e-12)
        dic = frechet(golden["in/dic/a"], golden["in/dic/b"]) / 3.3
        assert dic == pytest.approx(float(golden["out/dic/frechet_over_3.3"]), rel=1e-8)


@pytest.mark.parametrize("case", ["full", "lowrank"])
def test_tfgan(shared, case):
    with np.load(shared / "golden/cinn/io_fvd_tf.npz") as golden:  # recorded as float32
        ours = frechet(golden[f"in/{case}/a"], golden[f"in/{case}/b"])
        assert ours == pytest.approx(float(golden[f"out/{case}/fvd"]), rel=1e-7)


def test_ccvs_groups(shared):
    with np.load(shared / "golden/ccvs/io_metrics.npz") as golden:
        real, fake = golden["in/act_real"], golden["in/act_fake"]
        assert frechet(real, fake) == pytest.approx(float(golden["out/frechet_full"]), rel=1e-6)
        groups = frechet_by_groups(real, fake, 32)
        np.testing.assert_allclose(groups, golden["out/frechet_groups_of_32"], rtol=1e-6)
        np.testing.assert_allclose([groups.mean(), groups.std()], golden["out/frechet_groups_mean_std"], rtol=1e-6)
        singular = frechet(real[:6], fake[:6])
        assert singular == pytest.approx(float(golden["out/frechet_singular"]), rel=1e-5)


# Intervals


@pytest.mark.parametrize(("clips", "clusters"), [(120, False), (120, True), (15, False)])
def test_jackknife_is_the_brute_force_one(rng, clips, clusters):
    real, fake = correlated(rng, 100, 20), correlated(rng, clips, 20, shift=0.2)
    names = [f"video {i // 4}" for i in range(clips)] if clusters else None
    estimate = frechet_jackknife(real, fake, clusters=names)
    split = blocks(clips, 20, names)
    left_out = np.array([frechet(real, np.delete(fake, block, axis=0)) for block in split])
    count = len(split)
    error = np.sqrt((count - 1) / count * ((left_out - left_out.mean()) ** 2).sum())
    assert estimate.value == frechet(real, fake)
    assert estimate.error == pytest.approx(error, rel=1e-6)
    assert estimate.low < estimate.value < estimate.high


def test_jackknife_needs_two_clusters(rng):
    real = rng.normal(size=(30, 4))
    one = frechet_jackknife(real, real[:9] + 1, clusters=["a"] * 9)
    assert one.value > 0 and one.low is one.high is one.error is None
    assert frechet_jackknife(real, real[:2]).low is None


def test_intervals_of_copied_clips_are_those_of_their_clusters(rng):
    real, fake = correlated(rng, 100, 4), correlated(rng, 60, 4, shift=0.4)
    videos = [i // 5 for i in range(300)]
    copies = np.repeat(fake, 5, axis=0)
    error = frechet_jackknife(real, fake, ddof=0).error
    assert frechet_jackknife(real, copies, ddof=0, clusters=videos).error == pytest.approx(error, rel=1e-6)
    assert frechet_jackknife(real, copies, ddof=0).error < 0.8 * error


def test_jackknife_holds_the_mean_score_at_this_n():
    real, truth, trials = Gaussian(np.zeros(12), np.eye(12)), 12 * 0.04, 40
    found = []
    for seed in range(trials):
        fake = np.random.default_rng(seed).normal(size=(150, 12)) + 0.2
        found.append(frechet_jackknife(real, fake))
    mean = np.mean([estimate.value for estimate in found])
    assert mean > 1.3 * truth
    assert sum(estimate.low <= mean <= estimate.high for estimate in found) >= 0.85 * trials


# Infinity


def test_infinity_takes_the_bias_off(rng):
    real, fake = correlated(rng, 4000, 24, decay=0), correlated(rng, 1024, 24, decay=0)
    found = frechet_infinity(Gaussian(np.zeros(24), np.eye(24)), fake)
    assert found.sizes[0] == 256 and found.sizes[-1] == 1024 and len(found.sizes) == 15
    assert found.slope > 0 and found.r2 > 0.9
    assert abs(found.value) < 0.3 * frechet(real, fake)
    assert found.distances[-1] == pytest.approx(frechet(Gaussian(np.zeros(24), np.eye(24)), fake), rel=1e-8)


def test_infinity_is_the_least_squares_line_and_seeded(rng):
    real, fake = correlated(rng, 100, 5), correlated(rng, 600, 5, shift=1)
    found = frechet_infinity(real, fake, points=6, least=300, seed=2)
    design = np.stack([np.ones(6), 1 / found.sizes], axis=1)
    line = np.linalg.lstsq(design, found.distances)[0]
    assert (found.value, found.slope) == pytest.approx(tuple(line), rel=1e-8)
    assert found.r2 == pytest.approx(np.corrcoef(1 / found.sizes, found.distances)[0, 1] ** 2)
    again = frechet_infinity(real, fake, points=6, least=300, seed=2)
    assert again.value == found.value
    assert frechet_infinity(real, fake, points=6, least=300, seed=3).value != found.value


def test_infinity_without_a_block_is_the_line_through_what_stays_of_each_subset(rng):
    real, fake = correlated(rng, 100, 5), correlated(rng, 600, 5, shift=1)
    clusters = [index // 2 for index in range(600)]
    found = frechet_infinity(real, fake, points=6, least=300, count=4, clusters=clusters)
    subsets = [np.random.default_rng([0, size]).permutation(600)[:size] for size in found.sizes]
    for value, block in zip(found.left_out, blocks(600, 4, clusters), strict=True):
        kept = [np.setdiff1d(subset, block) for subset in subsets]
        line = np.polyfit([1 / len(each) for each in kept], [frechet(real, fake[each]) for each in kept], 1)
        assert value == pytest.approx(line[1], rel=1e-8)
    nearly_one = ["long"] * 599 + ["short"]
    assert frechet_infinity(real, fake, clusters=nearly_one).left_out == []  # nothing is left without the long one


def test_the_interval_at_infinity_is_as_wide_as_the_values_of_other_draws_differ():
    real = Gaussian(np.zeros(8), np.eye(8))
    draws = [np.random.default_rng(seed).normal(size=(512, 8)) + 0.3 for seed in range(40)]
    found = [frechet_infinity(real, fake, points=5) for fake in draws]
    error = np.mean([jackknifed(line.value, line.left_out).error for line in found])
    assert error == pytest.approx(np.std([line.value for line in found]), rel=0.35)


def test_a_jackknife_holds_neither_all_blocks_nor_a_copy_of_the_features(rng):
    """At 2048 dimensions 20 covariances are 671 MB, and 16,000 frames in float64 262 MB."""
    real, fake = (rng.normal(size=(4096, 256)).astype(np.float32) for _ in range(2))
    tracemalloc.start()
    estimate = frechet_jackknife(real, fake)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * 256 * 256 * 8 + fake.nbytes / 2 and estimate.low < estimate.value
    brute = jackknife(lambda kept: frechet(real, fake[kept]), len(fake))
    np.testing.assert_allclose(estimate[:4], brute[:4], rtol=1e-8)


def test_sets_that_do_not_move_have_intervals_of_no_width(rng):
    real, frozen = rng.normal(size=(50, 4)), np.ones((512, 4))
    value = frechet(real, frozen)
    assert frechet_jackknife(real, frozen)[:4] == pytest.approx((value, value, value, 0))
    found = frechet_infinity(real, frozen)
    assert found[:3] == pytest.approx((value, 0, 1), abs=1e-8)
    assert frechet_jackknife(frozen, frozen)[:4] == (0, 0, 0, 0)
    assert frechet_jackknife(frozen, real).value == pytest.approx(value)


def test_infinity_refuses_few_clips(rng):
    real = rng.normal(size=(20, 3))
    with pytest.raises(VbenchError, match=r"511 generated clips are too few.*512"):
        frechet_infinity(real, rng.normal(size=(511, 3)))
    with pytest.raises(VbenchError, match="make no line"):
        frechet_infinity(real, rng.normal(size=(600, 3)), least=600)


# Bad input


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_broken_clip_is_named(rng, bad):
    real, fake = rng.normal(size=(2, 10, 4))
    fake[7, 2] = bad
    with pytest.raises(VbenchError, match=r"generated features.*1 of 10 clips.*clip number 7 "):
        frechet(real, fake)
    with pytest.raises(VbenchError, match="real features"):
        frechet(fake, real)


def test_sets_that_have_no_distance(rng):
    features = rng.normal(size=(10, 4))
    with pytest.raises(VbenchError, match="generated features hold 1 clips, expected at least 2"):
        frechet(features, features[:1])
    with pytest.raises(VbenchError, match="generated features hold 1 clips, expected at least 2"):
        frechet(features, Moments.of(features[:1]))
    with pytest.raises(VbenchError, match="hold 0 clips"):
        frechet(features[:0], features)
    with pytest.raises(VbenchError, match="4 dimensions and the generated ones 3"):
        frechet(features, features[:, :3])
    for wrong in (features[0], features.astype(complex), features[..., np.newaxis], np.array([["a", "b"]])):
        with pytest.raises(VbenchError, match="expected real numbers"):
            frechet(wrong, features)
    with pytest.raises(VbenchError, match="ddof is 2"):
        frechet(features, features, ddof=2)
    with pytest.raises(VbenchError, match="do not make groups of 4"):
        frechet_by_groups(features, features, 4)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_features_too_large_for_float64(rng):
    features = 1e200 * rng.normal(size=(10, 4))
    with pytest.raises(VbenchError, match="too large"):
        frechet(features, features)


def test_a_covariance_that_is_none_is_refused():
    broken = np.eye(2) * 1e-6
    broken[0, 1] = broken[1, 0] = -5.0
    with pytest.raises(VbenchError, match="not symmetric or not positive"):
        frechet(Gaussian(np.zeros(2), broken), Gaussian(np.zeros(2), np.eye(2)))
