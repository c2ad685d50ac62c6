"""Agreement of labellings, movements of actions, detections: closed forms, then the numbers of the released code."""

import itertools

import numpy as np
import pytest

from vbench_ctl.errors import VbenchError
from vbench_ctl.statistics import agreement, detections, kernel_machines, movements

RNG = np.random.default_rng(3)
TRUE = np.array([0, 0, 0, 1, 1, 2])


@pytest.fixture(scope="module")
def golden(shared):
    return np.load(shared / "golden/glass/io_action_metrics.npz", allow_pickle=False)


# Labels whose numbers mean nothing


@pytest.mark.parametrize("score", [agreement.nmi, agreement.ari, agreement.purity, agreement.matched_accuracy])
def test_other_numbers_for_the_same_parts_agree_wholly(score):
    assert score(TRUE, np.array([7, 7, 7, -2, -2, 0])) == pytest.approx(1)
    true, found = RNG.integers(4, size=(2, 60))
    renamed = np.array([9, 3, 5, 1])[found]
    assert score(true, found) == pytest.approx(score(true, renamed)) and score(true, found) < 0.9


def test_nmi_by_hand():
    """Half of one bit is known: H = 1 and 2 bits, mutual information 1 bit."""
    assert agreement.nmi([0, 0, 1, 1], [0, 1, 2, 3]) == pytest.approx(1 / 1.5)
    assert agreement.nmi([0, 0, 1, 1], [0, 1, 0, 1]) == pytest.approx(0, abs=1e-12)
    assert agreement.nmi([0, 0, 0], [5, 5, 5]) == 1 and agreement.nmi([0, 0, 1], [5, 5, 5]) == 0
    assert agreement.nmi(TRUE, TRUE[::-1]) == pytest.approx(agreement.nmi(TRUE[::-1], TRUE))


def test_nmi_of_the_release(golden):
    for at in range(5):
        found = agreement.nmi(golden[f"nmi{at}/in/a"], golden[f"nmi{at}/in/b"])
        assert found == pytest.approx(float(golden[f"nmi{at}/out/nmi"]), abs=1e-7)


def test_chance_is_what_few_things_reach_by_themselves():
    true, found = RNG.integers(6, size=(2, 20))
    level = agreement.chance(agreement.nmi, true, found)
    assert level > 0.2 and level == agreement.chance(agreement.nmi, true, found)
    many = RNG.integers(6, size=(2, 20_000))
    assert agreement.chance(agreement.nmi, *many) < 0.005 and abs(agreement.chance(agreement.ari, *many)) < 0.001
    groups = np.repeat([0, 1], 10)  # what is constant within a group stays what it is
    assert agreement.chance(agreement.nmi, groups, groups, groups) == 1
    assert agreement.chance(agreement.nmi, groups, groups) < 0.5


def test_groups_are_averaged():
    true, found, groups = np.array([[0, 0, 1, 1, 0, 0, 1, 1], [0, 0, 1, 1, 0, 1, 0, 1], [5, 5, 5, 5, 2, 2, 2, 2]])
    assert agreement.nmi_within(true, found, groups) == pytest.approx(0.5)


def test_ari_by_hand():
    """The example of scikit-learn's documentation, and parts that agree as little as chance."""
    assert agreement.ari([0, 0, 1, 2], [0, 0, 1, 1]) == pytest.approx(4 / 7)
    assert agreement.ari([0, 0, 1, 1], [0, 1, 0, 1]) == pytest.approx(-0.5)
    assert agreement.ari([0], [0]) == 1


def test_purity_and_matching_by_hand():
    found = np.array([0, 0, 1, 1, 1, 1])
    assert agreement.purity(TRUE, found) == pytest.approx(4 / 6)  # 2 of 2 and 2 of 4
    assert agreement.purity(TRUE, np.arange(6)) == 1  # a label for each thing is pure, and matches few
    assert agreement.matched_accuracy(TRUE, np.arange(6)) == pytest.approx(3 / 6)


def test_matching_is_the_best_of_all_permutations():
    true, found = RNG.integers(4, size=(2, 50))
    best = max(np.mean(np.array(names)[found] == true) for names in itertools.permutations(range(4)))
    assert agreement.matched_accuracy(true, found) == pytest.approx(best)


def test_labellings_must_fit():
    with pytest.raises(VbenchError, match=r"the true labels are \(3,\) and the found ones \(2,\)"):
        agreement.nmi([0, 1, 2], [0, 1])
    with pytest.raises(VbenchError, match=r"are \(0,\) and"):
        agreement.purity([], [])


# Labels that mean something


def test_confusion_by_hand():
    counts = agreement.confusion([0, 0, 1, 2], [0, 1, 1, 1], 4)
    assert counts.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert agreement.macro_f1(counts) == pytest.approx((2 / 3 + 2 / 4 + 0) / 3)  # the last label occurs nowhere
    for wrong in ([0, 0, 1, 4], [0, 0, 1, -1], [0, 0, 1, 0.5]):
        with pytest.raises(VbenchError, match="expected whole numbers from 0 to 3"):
            agreement.confusion([0, 0, 1, 2], wrong, 4)


# Movements


def test_action_variance_of_the_release(golden):
    actions, vectors = golden["in/actions"].ravel(), golden["in/vectors"].reshape(-1, 2).astype(np.float64)
    found = movements.movements(actions, vectors)
    assert list(found) == [0, 1, 2, 4]
    for action, each in found.items():
        names = {"mean_vector": each.mean, "variance_vector": each.variance, "kurtosis": each.kurtosis}
        for name, values in {**names, "quantiles": each.quantiles, "frequency": each.share}.items():
            np.testing.assert_allclose(values, golden[f"out/action_variance/{name}/{action}"], rtol=1e-5, atol=1e-7)
    mean, whole = movements.variance_of_actions(actions, vectors), movements.total_variance(vectors)
    assert mean == pytest.approx(float(golden["out/action_variance/avg_variance/mean"]), rel=1e-5)
    assert whole == pytest.approx(float(golden["out/action_variance/avg_variance/global"]), rel=1e-5)
    assert 100 * mean / whole == pytest.approx(float(golden["out/delta_mse_candidate"]), rel=1e-5)


def test_what_actions_do_not_explain():
    actions = np.array([0, 0, 1, 1])
    vectors = np.array([[1.0, 0], [3, 0], [-1, 0], [-3, 0]])
    assert movements.unexplained(actions, vectors) == pytest.approx(1 / 5)  # 1 of 5
    assert movements.unexplained(np.zeros(4), vectors) == 1
    assert movements.unexplained(np.arange(4), vectors) == 0
    assert np.isnan(movements.unexplained(actions, np.ones((4, 2))))
    other = np.array([0, 2]), np.array([[2.0, 0], [0, 0]])  # action 1 is unknown there: it gets the mean, (1, 0)
    assert movements.unexplained(actions, vectors, other) == pytest.approx((1 + 1 + 4 + 16) / 20)


@pytest.mark.parametrize(("name", "fit"), [("rbf", kernel_machines.fit_rbf), ("poly", kernel_machines.fit_poly)])
def test_classifiers_with_kernels_of_the_release(golden, name, fit):
    actions, vectors = golden["in/actions"].ravel(), golden["in/vectors"].reshape(-1, 2).astype(np.float64)
    right = fit(vectors, actions).predict(vectors) == actions
    place = f"out/classifier/{name}/action_accuracy"
    assert right.mean() == pytest.approx(float(golden[place]), abs=1e-6)
    for action in (0, 1, 2, 4):
        assert right[actions == action].mean() == pytest.approx(float(golden[f"{place}/{action}"]), abs=1e-6)


def test_a_machine_with_a_kernel_by_hand():
    """Two points at 1 and -1 with the kernel (a b / 1)^3: both support, a = 1 / 2, the border lies between them."""
    machine = kernel_machines.fit_poly(np.array([[1.0], [-1]]), np.array([4, 7])).machines[0]
    assert machine.weights == pytest.approx([0.5, -0.5]) and machine.offset == pytest.approx(0)
    ring = np.array([[np.cos(t), np.sin(t)] for t in np.linspace(0, 6, 30)])
    vectors, actions = np.concatenate([0.2 * ring, 2 * ring]), np.repeat([0, 1], 30)
    assert (kernel_machines.fit_rbf(vectors, actions).predict(vectors) == actions).all()
    assert (movements.fit_linear(vectors, actions).predict(vectors) == actions).mean() < 0.8  # no line parts them
    with pytest.raises(VbenchError, match="two actions have 20001 movements together"):
        kernel_machines.fit_rbf(np.zeros((20_001, 1)), np.arange(20_001) % 2)


@pytest.mark.parametrize(("name", "fit"), [("linear", movements.fit_linear), ("linear_ovo", movements.fit_pairwise)])
def test_linear_classifiers_of_the_release(golden, name, fit):
    actions, vectors = golden["in/actions"].ravel(), golden["in/vectors"].reshape(-1, 2).astype(np.float64)
    right = fit(vectors, actions).predict(vectors) == actions
    place = f"out/classifier/{name}/action_accuracy"
    assert right.mean() == pytest.approx(float(golden[place]), abs=0.01)  # liblinear stops near the minimum
    for action in (0, 1, 2, 4):
        assert right[actions == action].mean() == pytest.approx(float(golden[f"{place}/{action}"]), abs=0.03)


def test_the_machine_stands_at_its_minimum():
    """One point at 1 wanted and one at -1 not, without the constant's help: w minimises w^2 / 2 + 2 (1 - w)^2."""
    weights = movements._machine(np.array([[1.0, 0], [-1, 0]]), np.array([True, False]))
    assert weights == pytest.approx([0.8, 0])
    points, wanted = RNG.normal(size=(200, 4)), RNG.random(200) < 0.3
    weights, signs = movements._machine(points, wanted), np.where(wanted, 1.0, -1.0)
    short = np.maximum(0, 1 - signs * (points @ weights))
    assert np.abs(weights - 2 * points.T @ (signs * short)).max() < 1e-8  # the gradient


@pytest.mark.parametrize(
    "fit", [movements.fit_linear, movements.fit_pairwise, kernel_machines.fit_rbf, kernel_machines.fit_poly]
)
def test_far_apart_movements_are_told(fit):
    actions = np.repeat([3, 5, 8], 40)
    vectors = 30 * np.array([[1, 0], [-1, 1], [-1, -1]])[np.repeat([0, 1, 2], 40)] + RNG.normal(size=(120, 2))
    assert (fit(vectors, actions).predict(vectors) == actions).all()
    alone = fit(vectors[:40], actions[:40]).predict(vectors)
    assert (alone == 3).all()


def test_movements_lie_between_places():
    places = np.array([[0.0, 0], [1, 2], [np.nan, np.nan], [4, 4], [4, 5]])
    rows = movements.with_actions(np.array([10, 11, 12, 13]), places)
    assert rows.tolist() == [[10, 1, 2], [13, 0, 1]]
    assert movements.with_actions(np.array([9, 10, 11, 12, 13]), places).tolist() == rows.tolist()
    assert movements.with_actions(np.array([13]), places).tolist() == [[13, 0, 1]]


def test_halves_do_not_depend_on_the_order():
    parts = [RNG.normal(size=(3, 2)) for _ in range(12)]
    there, back = movements.halves(parts), movements.halves(parts[::-1])
    assert sum(map(len, there)) == 36 and min(map(len, there)) > 0
    for one, other in zip(there, back, strict=True):
        np.testing.assert_array_equal(np.sort(one, axis=0), np.sort(other, axis=0))


# Detections


def test_detections_of_the_release(shared):
    golden = np.load(shared / "golden/glass/io_detection.npz", allow_pickle=False)
    real, fake = (golden[f"in/{side}"].astype(np.float64) for side in ("reference", "generated"))
    for at, (a, b) in enumerate(zip(real.swapaxes(0, 1), fake.swapaxes(0, 1), strict=True)):
        place = f"out/detection/{{}}/{at}"
        distance = golden[place.format("center_distance")]
        missed, there = (int(golden[place.format(f"{word}_detections")]) for word in ("missed", "reference"))
        assert detections.mean_distance(a, b) == pytest.approx(float(distance), rel=1e-6)
        assert detections.missing_share(a, b) == pytest.approx(missed / there)
    a, b = (side.reshape(-1, 2) for side in (real, fake))
    assert detections.mean_distance(a, b) == pytest.approx(float(golden["out/ADD"]), rel=1e-6)
    assert detections.missing_share(a, b) == pytest.approx(float(golden["out/MDR"]), rel=1e-6)
    boxes = golden["boxes/in/score_label_x1y1x2y2"]
    for row, centre in zip(boxes, golden["boxes/out/centers"], strict=True):
        row = row[row[:, 0] >= 0]
        assert detections.player(row[:, 0], row[:, 1], row[:, 2:]) == pytest.approx(tuple(centre))


def test_nothing_seen_has_no_distance():
    nowhere, here = np.full((2, 2), -1.0), np.array([[3.0, 4], [0, 0]])
    assert np.isnan(detections.mean_distance(nowhere, here)) and np.isnan(detections.missing_share(nowhere, here))
    assert detections.missing_share(here, np.full((2, 2), np.nan)) == 1
    assert detections.mean_distance(here, np.zeros((2, 2))) == 2.5
    np.testing.assert_array_equal(detections.known(np.array([[-1.0, -1], [0, 5]])), [[np.nan, np.nan], [0, 5]])
