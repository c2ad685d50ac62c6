"""Kernel distance, neighbours, diversity and resampling: closed forms, brute force, bad input."""

import numpy as np
import pytest

from vbench_ctl.errors import VbenchError
from vbench_ctl.statistics import kernel, neighbours
from vbench_ctl.statistics.diversity import diversity
from vbench_ctl.statistics.kernel import kid, kid_subsets
from vbench_ctl.statistics.neighbours import prdc
from vbench_ctl.statistics.resampling import basic, blocks, draws, jackknife


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def fixture_sets():
    n, d = np.ogrid[:40, :8]
    return np.sin(0.7 * n * (d + 1) + 0.1 * d), 1.3 * np.cos(0.5 * n * (d + 1) + 0.2 * d) + 0.1 * d


# Kernel distance


def test_kernel_fixtures(fixture_sets):
    assert kid(*fixture_sets).value == pytest.approx(0.731886001655723, rel=1e-12)
    assert kid(*fixture_sets, unbiased=False).value == pytest.approx(0.978997720020020, rel=1e-12)


def mmd(x, y, degree=3, coef=1.0):
    """Unbiased, one pair at a time."""

    def mean(a, b, distinct):
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if not distinct or i != j]
        return np.mean([(a[i] @ b[j] / a.shape[1] + coef) ** degree for i, j in pairs])

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


def test_kernel_distance_of_unequal_sets_and_its_jackknife(rng):
    real, fake = rng.normal(size=(13, 4)), rng.normal(size=(26, 4)) + 0.5
    videos = [i // 2 for i in range(26)]
    estimate = kid(real, fake, clusters=videos, degree=2, coef=0.5)
    left_out = [mmd(real, np.delete(fake, block, axis=0), 2, 0.5) for block in blocks(26, 20, videos)]
    assert len(left_out) == 13
    assert estimate.value == pytest.approx(mmd(real, fake, 2, 0.5), rel=1e-10)
    assert estimate.error == pytest.approx(np.sqrt(12 * np.var(left_out)), rel=1e-8)
    assert estimate.low < estimate.value < estimate.high


def test_kernel_distance_is_unbiased_symmetric_and_blind_to_order(rng):
    values = [kid(*rng.normal(size=(2, 20, 3))).value for _ in range(200)]
    assert min(values) < 0 < max(values)
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(200)
    real, fake = rng.normal(size=(300, 6)), rng.normal(size=(400, 6)) + 0.2
    value = kid(real, fake).value
    assert kid(fake, real).value == pytest.approx(value, rel=1e-10)
    assert kid(rng.permutation(real), rng.permutation(fake)).value == pytest.approx(value, rel=1e-10)


def test_jedi_form_keeps_the_diagonal(rng):
    x, y = rng.normal(size=(9, 5)), rng.normal(size=(11, 5))
    by_hand = 100 * sum(f * ((a @ b.T / 5) ** 2).mean() for f, a, b in ((1, x, x), (1, y, y), (-2, x, y)))
    assert 100 * kid(x, y, degree=2, coef=0, unbiased=False).value == pytest.approx(by_hand)
    assert kid(x, x.copy(), unbiased=False).value == pytest.approx(0, abs=1e-12)


def test_kernel_subsets_are_seeded_and_average_to_the_whole(rng):
    real, fake = rng.normal(size=(60, 4)), rng.normal(size=(50, 4)) + 0.5
    values = kid_subsets(real, fake, subsets=40, size=30, seed=1)
    np.testing.assert_array_equal(values, kid_subsets(real, fake, subsets=40, size=30, seed=1))
    assert (values != kid_subsets(real, fake, subsets=40, size=30, seed=2)).all()
    assert values.mean() == pytest.approx(kid(real, fake).value, abs=4 * values.std() / np.sqrt(40))
    assert kid_subsets(real[:50], fake, subsets=1, size=9999) == pytest.approx([kid(real[:50], fake).value])


def test_large_sets_go_by_subsets(rng, monkeypatch):
    monkeypatch.setattr(kernel, "WHOLE", 50)
    monkeypatch.setattr(kernel, "SUBSET", 20)
    real, fake = rng.normal(size=(80, 3)), rng.normal(size=(60, 3)) + 1
    estimate = kid(real, fake, seed=7)
    assert kid(real, fake, seed=7) == estimate
    assert kid(real, fake, seed=8) != estimate
    assert estimate.low < estimate.value < estimate.high
    few = fake[:30]  # too few for subsets that differ, so all pairs are looked at
    assert kid(real, few).value == pytest.approx(mmd(real, few), rel=1e-10)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_kernel_refuses(rng):
    x = rng.normal(size=(5, 3))
    with pytest.raises(VbenchError, match="at least 2"):
        kid(x, x[:1])
    with pytest.raises(VbenchError, match="3 dimensions and the generated ones 2"):
        kid(x, x[:, :2])
    with pytest.raises(VbenchError, match="too large"):
        kid(1e150 * x, x)
    with pytest.raises(VbenchError, match="expected at least 1 subset"):
        kid_subsets(x, x, size=1)
    with pytest.raises(VbenchError, match="degree is 0"):
        kid(x, x, degree=0)
    x[3] = np.nan
    with pytest.raises(VbenchError, match="clip number 3 "):
        kid(np.ones((4, 3)), x)


# Neighbours


def test_neighbours_of_points_made_by_hand():
    real = np.array([[0.0], [1], [3], [10]])  # squared radii to the nearest: 1, 1, 4, 49
    fake = np.array([[0.5], [20], [21], [2]])  # 2.25, 1, 1, 2.25
    found = prdc(real, fake, k=1)
    assert found.precision == 0.5  # 0.5 and 2 lie in real balls; 20 and 21 do not
    assert found.recall == 0.75  # 0, 1 and 3 lie in the balls of 0.5 and 2
    assert found.density == (2 + 1) / 4  # 0.5 in two balls; 2 in the ball of 3 and on the rim of that of 1
    assert found.coverage == 0.75  # the nearest to 10 is at 8, its ball reaches to 7
    assert prdc(real, fake, k=3).coverage == 1


def brute_prdc(real, fake, k):
    def radius(points, i):
        return sorted(np.linalg.norm(points[i] - np.delete(points, i, axis=0), axis=1))[k - 1]

    r, f = ([radius(x, i) for i in range(len(x))] for x in (real, fake))
    d = np.linalg.norm(real[:, None] - fake[None], axis=2)
    inside = d < np.array(r)[:, None]
    recall = (d < np.array(f)).any(1).mean()
    return inside.any(0).mean(), recall, inside.sum(0).mean() / k, (d.min(1) < r).mean()


@pytest.mark.parametrize("offset", [0, 1e5])
@pytest.mark.parametrize("cells", [1, 500, 1 << 24])
def test_neighbours_are_those_of_brute_force(rng, monkeypatch, cells, offset):
    monkeypatch.setattr(neighbours, "CELLS", cells)
    real, fake = rng.normal(size=(60, 5)) + offset, 0.7 * rng.normal(size=(45, 5)) + 0.3 + offset
    for k in (1, 5, 44):
        assert prdc(real, fake, k=k) == pytest.approx(brute_prdc(real, fake, k))


def test_neighbours_of_identical_and_of_far_sets(rng):
    real = rng.normal(size=(50, 4))
    # Each clip meets itself and k - 1 neighbours: the k-th is on the rim.
    assert prdc(real, rng.permutation(real), k=5) == (1, 1, 1, 1)
    assert prdc(real, real + 100, k=5) == (0, 0, 0, 0)


def test_a_collapsed_model_has_precision_without_recall(rng):
    real = rng.normal(size=(50, 2))
    found = prdc(real, np.repeat(real[:1], 30, axis=0))
    assert found.precision == 1 and found.recall == 0 and found.coverage < 0.3


def test_neighbours_refuse(rng):
    x = rng.normal(size=(6, 3))
    for k in (0, 6):
        with pytest.raises(VbenchError, match=f"{k} neighbours among 6 real and 9 generated"):
            prdc(x, rng.normal(size=(9, 3)), k=k)
    with pytest.raises(VbenchError, match="exact copies"):
        prdc(np.full((9, 3), 0.1), rng.normal(size=(9, 3)))
    x[2, 2] = np.inf
    with pytest.raises(VbenchError, match=r"real features.*clip number 2 "):
        prdc(x, x)


def test_neighbours_have_an_interval(rng):
    real, fake = rng.normal(size=(60, 3)), 0.5 * rng.normal(size=(60, 3))
    estimate = jackknife(lambda kept: prdc(real, fake[kept]), 60, count=10)
    assert estimate.value.tolist() == list(prdc(real, fake))
    assert (estimate.low <= estimate.value).all() and (estimate.value <= estimate.high).all()
    assert estimate.error[1] > 0


# Diversity


def test_diversity_is_the_mean_over_ordered_pairs(rng):
    features = rng.normal(size=(6, 5, 3, 4))
    by_hand = [np.mean([((s[i] - s[j]) ** 2).mean() for i in range(5) for j in range(5) if i != j]) for s in features]
    np.testing.assert_allclose(diversity(features), by_hand, rtol=1e-12)
    np.testing.assert_allclose(diversity(iter(features.astype(np.float32))), by_hand, rtol=1e-5)
    assert diversity(np.ones((3, 5, 7))).tolist() == [0, 0, 0]
    assert diversity(np.array([[[1.0], [4.0]]])) == [9]


def test_diversity_of_cinn(shared):
    with np.load(shared / "golden/cinn/io_diversity.npz") as golden:
        i3d = diversity(golden["in/i3d_features"].reshape(16, 3, 400)).mean()
        assert i3d == pytest.approx(float(golden["out/div_i3d"]), rel=1e-6)  # released in float32
        dti3d = 1000 * diversity(golden["in/dti3d_features"].swapaxes(0, 1)).mean()
        assert dti3d == pytest.approx(float(golden["out/div_dti3d"]), rel=1e-7)


def test_diversity_refuses(rng):
    features = rng.normal(size=(4, 3, 5))
    features[2, 1, 0] = np.nan
    with pytest.raises(VbenchError, match=r"start 2 are not finite.*clip number 1 "):
        diversity(features)
    with pytest.raises(VbenchError, match="start 0 hold 1 clips, expected at least 2"):
        diversity(features[:, :1])
    with pytest.raises(VbenchError, match="start 0 have the shape"):
        diversity(features[0])


# Resampling


def test_jackknife_of_a_mean_is_its_standard_error(rng):
    values = rng.normal(size=40)
    estimate = jackknife(lambda kept: values[kept].mean(), 40, count=40)
    assert estimate.value == values.mean()
    assert estimate.error == pytest.approx(values.std(ddof=1) / np.sqrt(40))
    assert estimate.high - estimate.value == pytest.approx(2.0227 * estimate.error, rel=1e-4)  # t of 39 degrees


def test_intervals_hold_the_truth_about_as_often_as_they_say(rng):
    held = 0
    for trial in range(100):
        values = rng.normal(size=60)
        estimate = jackknife(lambda kept, values=values: values[kept].mean(), 60, seed=trial)
        held += estimate.low <= 0 <= estimate.high
    assert 88 <= held <= 100


def test_basic_interval_is_reflected():
    estimate = basic(10.0, np.arange(1001) / 100 + 10)  # replicates from 10 to 20
    assert (estimate.low, estimate.high) == pytest.approx((2 * 10 - 19.75, 2 * 10 - 10.25))
    assert basic(1.0, [0.0, 5.0], least=0).low == 0


def test_blocks_hold_every_clip_once_and_keep_clusters():
    videos = [f"v{i % 13}" for i in range(100)]
    split = blocks(100, 5, videos, seed=1)
    assert sorted(np.concatenate(split)) == list(range(100)) and len(split) == 5
    for block in split:
        assert not {videos[i] for i in block} & {videos[i] for i in set(range(100)) - set(block)}
    assert [len(block) for block in blocks(7, 20)] == [1] * 7
    assert [b.tolist() for b in blocks(100, 5, videos, seed=1)] == [b.tolist() for b in split]
    assert [b.tolist() for b in blocks(100, 5, videos, seed=2)] != [b.tolist() for b in split]


def test_draws_take_whole_clusters():
    videos = [i // 3 for i in range(12)]
    for chosen in draws(12, 20, videos, seed=4):
        counts = np.bincount(chosen, minlength=12).reshape(4, 3)
        assert (counts == counts[:, :1]).all() and counts[:, 0].sum() == 4


def test_one_cluster_has_no_interval():
    assert jackknife(lambda kept: len(kept), 5, clusters=["a"] * 5)[:4] == (5, None, None, None)
