"""Inception score and video Inception score: statistics, networks with random weights, rows."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny import noise

from vbench_ctl import networks, scoring, tokens, weights
from vbench_ctl.errors import VbenchError
from vbench_ctl.features import c3d, inception
from vbench_ctl.sources import ArraySource
from vbench_ctl.statistics.inception_score import TGAN2_EPS, inception_score_estimate


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def probabilities() -> np.ndarray:
    return softmax(3 * np.random.default_rng(0).normal(size=(200, 12)))


# Statistics


def by_hand(probabilities: np.ndarray, parts: int = 1) -> float:
    """Return the mean of exp(mean KL(p | mean p)) of consecutive parts."""
    each = np.array_split(probabilities, parts)
    return float(np.mean([np.exp((p * np.log(p / p.mean(0))).sum(1).mean()) for p in each]))


def test_one_part_is_the_plain_score():
    n, d = np.arange(40)[:, None], np.arange(8)
    p = softmax(np.sin(0.7 * n * (d + 1) + 0.1 * d))
    names = [str(at) for at in range(40)]
    assert inception_score_estimate(p, names, 1).value == pytest.approx(1.214026073719632, rel=1e-12)


def test_sure_and_different_is_the_number_of_classes_and_alike_is_one():
    names = [str(at) for at in range(60)]
    assert inception_score_estimate(np.eye(6).repeat(10, 0), names, 1).value == pytest.approx(6)
    assert inception_score_estimate(np.eye(6)[[2] * 60], names).value == pytest.approx(1)


def test_estimate_is_the_mean_over_parts(probabilities):
    names = [f"{at:03d}" for at in range(200)]
    order = np.arange(200)
    np.random.default_rng(0).shuffle(order)
    found = inception_score_estimate(probabilities, names)
    assert found.value == pytest.approx(by_hand(probabilities[order], 10), rel=1e-12)
    assert found.low < found.value < found.high and found.error > 0
    tiny_eps = inception_score_estimate(probabilities, names, 1, eps=TGAN2_EPS).value
    assert tiny_eps == pytest.approx(by_hand(probabilities), rel=1e-12)


def test_epsilon_is_added_without_normalising(probabilities):
    found = inception_score_estimate(probabilities, range(200), 1, eps=0.1)
    assert found.value == pytest.approx(by_hand(probabilities + 0.1))


def test_the_order_of_clips_does_not_matter(probabilities):
    names = [f"{at:03d}" for at in range(200)]
    turned = inception_score_estimate(probabilities[::-1], names[::-1])
    assert turned.value == pytest.approx(inception_score_estimate(probabilities, names).value, rel=1e-12)


def test_the_interval_covers_the_score_of_fresh_clips():
    """In 40 draws of 300 clips, the 95 % interval holds the mean score of all draws at least 34 times."""
    rng = np.random.default_rng(1)
    names = [str(at) for at in range(300)]
    found = [inception_score_estimate(softmax(3 * rng.normal(size=(300, 12))), names, 2) for _ in range(40)]
    truth = np.mean([one.value for one in found])
    assert sum(one.low < truth < one.high for one in found) >= 34


def test_too_few_clips_are_refused(probabilities):
    with pytest.raises(VbenchError, match="10 splits of 9 clips, expected from 1 to 9"):
        inception_score_estimate(probabilities[:9], list("abcdefghi"))


def test_what_are_no_probabilities_are_refused(probabilities):
    for wrong in (np.log(probabilities), 2 * probabilities):
        with pytest.raises(VbenchError, match="apply softmax first"):
            inception_score_estimate(wrong, range(200))


# Inception


@pytest.fixture(scope="module")
def inception_tensors() -> dict[str, np.ndarray]:
    """Random weights under pytorch-fid's names, head and its bias included."""
    rng = np.random.default_rng(0)
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in inception.build().state_dict().items()}
    tensors = {
        name: rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape) if len(shape) > 1 else np.full(shape, 0.1)
        for name, shape in shapes.items()
        if "num_batches" not in name
    }
    tensors |= {
        name: np.ones_like(value) for name, value in tensors.items() if name.endswith(("running_var", "bn.weight"))
    }
    tensors |= {"fc.weight": rng.normal(0, 0.2, (1008, 2048)), "fc.bias": rng.normal(0, 9, 1008)}
    return {name: value.astype(np.float32) for name, value in tensors.items()}


def test_probabilities_are_the_softmax_of_unbiased_logits(inception_tensors):
    classifier = inception.load(inception_tensors, head=True)
    frames = np.random.default_rng(1).integers(0, 256, (2, 20, 30, 3), np.uint8)
    found = classifier.features(frames, batch=1)
    pooled = classifier.trunk.features(frames, mode="legacy_tensorflow").astype(np.float64)
    expected = softmax(pooled @ inception_tensors["fc.weight"].astype(np.float64).T)
    assert found.shape == (2, 1008) and np.abs(found.sum(1) - 1).max() < 1e-5
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert expected.max() < 0.99 and np.ptp(expected, axis=0).max() > 1e-3  # or this would say nothing


def test_the_torchscripts_names_are_known(inception_tensors):
    theirs = {**inception_tensors, "output.weight": inception_tensors["fc.weight"], "output.bias": np.zeros(1008)}
    del theirs["fc.weight"], theirs["fc.bias"]
    ours, found = (inception.convert(tensors, head=True) for tensors in (inception_tensors, theirs))
    assert ours.keys() == found.keys() and "fc.bias" not in ours
    assert torch.equal(ours["fc.weight"], found["fc.weight"])


def test_a_file_without_head_is_refused_and_fid_ignores_the_head(inception_tensors):
    without = {name: value for name, value in inception_tensors.items() if not name.startswith("fc.")}
    with pytest.raises(VbenchError, match=r"the weights lack the 1008-way head .* use inception-2015-head"):
        inception.load(without, head=True)
    assert inception.convert(inception_tensors).keys() == inception.convert(without).keys()


# C3D

TINY = dict.fromkeys(c3d.CONVS, 4)


@pytest.fixture
def tiny_c3d(monkeypatch) -> dict[str, np.ndarray]:
    """Chainer's tensors of a C3D of few channels, with TGAN2's mean clip."""
    monkeypatch.setattr(c3d, "CONVS", TINY)
    monkeypatch.setattr(c3d, "HIDDEN", 6)
    rng = np.random.default_rng(0)
    tensors = {}
    for name, value in c3d.C3D().state_dict().items():
        layer, _, leaf = name.partition(".")
        shape = tuple(value.shape)
        scale = (2 / np.prod(shape[1:])) ** 0.5 if leaf == "weight" else 0.1
        scale *= 0.02 if layer == "fc8" else 1  # pixels are 8-bit values: the classes shall not all be sure
        tensors[f"{layer}/{'W' if leaf == 'weight' else 'b'}"] = rng.normal(0, scale, shape).astype(np.float32)
    del tensors["mean/b"]
    return tensors | {"mean": rng.uniform(80, 120, (3, 16, 128, 171)).astype(np.float32)}


def straightforward(tensors: dict[str, np.ndarray], clip: np.ndarray) -> np.ndarray:
    """Compute the probabilities of one clip frame by frame in float64, in TGAN2's words: [-1, 1], times 128, plus 128."""
    x = (torch.from_numpy(clip[:16].astype(np.float64)) - 128) / 128
    x = x.movedim(-1, 1)[:, [2, 1, 0]] * 128  # (T, BGR, H, W)
    x = F.interpolate(x, (112, 112), mode="bilinear", align_corners=True)
    x = x.movedim(0, 1) + 128 - torch.from_numpy(tensors["mean"][:, :, 8:120, 8:120].astype(np.float64))
    x = x[None]
    weight = {name: torch.from_numpy(value.astype(np.float64)) for name, value in tensors.items()}
    for group in (["1a"], ["2a"], ["3a", "3b"], ["4a", "4b"], ["5a", "5b"]):
        for name in group:
            x = F.conv3d(x, weight[f"conv{name}/W"], weight[f"conv{name}/b"], padding=1).relu()
        x = F.pad(x, [0, x.shape[-1] % 2, 0, x.shape[-2] % 2])  # zeros below and right of 7x7: nothing is below zero
        size = (1, 2, 2) if group == ["1a"] else (2, 2, 2)
        x = x.unfold(2, size[0], size[0]).unfold(3, 2, 2).unfold(4, 2, 2).amax((-1, -2, -3))
    x = x.flatten(1)
    for name in ("fc6", "fc7"):
        x = (x @ weight[f"{name}/W"].T + weight[f"{name}/b"]).relu()
    return softmax((x @ weight["fc8/W"].T + weight["fc8/b"]).numpy())[0]


def test_c3d_is_what_tgan2_computes(tiny_c3d):
    classifier = c3d.load(tiny_c3d)
    clips = np.random.default_rng(2).integers(0, 256, (2, 18, 24, 40, 3), np.uint8)
    found = classifier.features(clips, batch=2)
    expected = np.array([straightforward(tiny_c3d, clip) for clip in clips])
    assert found.shape == (2, 101) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-7)
    assert np.ptp(expected, axis=0).max() > 1e-4
    np.testing.assert_allclose(classifier.features(clips[::-1], batch=1)[::-1], found, rtol=1e-4)
    c3d.self_test(classifier)
    with pytest.raises(VbenchError, match="the clips have 15 frames and this network needs at least 16"):
        classifier.features(clips[:, :15])


def test_c3d_has_the_parameters_of_its_layers():
    widths = (3, 64, 128, 256, 256, 512, 512, 512, 512)
    convs = sum(27 * before * after + after for before, after in pairwise(widths))
    linear = sum(before * after + after for before, after in ((512 * 4 * 4, 4096), (4096, 4096), (4096, 101)))
    with torch.device("meta"):
        network = c3d.C3D()
    assert sum(value.numel() for value in network.parameters()) == convs + linear == 78_409_573


def test_tgan2s_two_files_come_as_a_folder(tiny_c3d, tmp_path):
    folder = tmp_path / "c3d"
    folder.mkdir()
    np.savez(folder / "mean2.npz", mean=tiny_c3d.pop("mean"))
    np.savez(folder / "conv3d_deepnetA_ucf.npz", **tiny_c3d)
    with pytest.raises(VbenchError, match=r"c3d: the file lacks the mean clip; put it \(mean2.npz\)"):
        c3d.load(folder / "conv3d_deepnetA_ucf.npz")
    assert weights.add("c3d-ucf101", folder) == "c3d-ucf101"
    state = c3d.convert(weights.read(weights.path("c3d-ucf101")))
    np.testing.assert_array_equal(state["conv3b.weight"], tiny_c3d["conv3b/W"])
    assert state["mean"].shape == (3, 16, 112, 112)
    clips = noise(6, 0, frames=16)
    (row,) = scoring.score(ArraySource(clips), ArraySource(clips[:2]), metrics=["vis-tgan2"], place=networks.Place())
    p = c3d.load(weights.path("c3d-ucf101")).features(clips)
    assert row.value == pytest.approx(by_hand(p), rel=1e-5)
    assert row.signature.startswith("vis|tgan2|c3d-ucf101:") and "first 16 frames,1 parts,eps1e-20" in row.signature


# Rows


class Classes(torch.nn.Module):
    seen = 0

    def features(self, frames: np.ndarray, **options: object) -> np.ndarray:
        self.seen += len(frames)
        return softmax(frames.reshape(len(frames), -1)[:, :5] / 32.0).astype(np.float32)


@pytest.mark.parametrize("token", ["is", "vis", "vis-tgan2"])
def test_scores_are_of_the_generated_clips_alone(monkeypatch, token):
    network = Classes()
    monkeypatch.setattr(networks, "_extractor", lambda *asked: network)
    monkeypatch.setattr(networks, "_sha256", lambda *asked: "0123456789abcdef")
    monkeypatch.setattr(networks, "missing", lambda features: "")
    fake = noise(30, 0)
    scores = [scoring.score(ArraySource(fake), ArraySource(noise(n, n)), metrics=[token])[0] for n in (20, 30)]
    assert scores[0].value == scores[1].value and scores[0].direction == "higher"
    assert scores[0].low < scores[0].value < scores[0].high and scores[0].n == 30
    rows = fake.reshape(-1, *fake.shape[2:]) if token == "is" else fake
    assert network.seen == len(rows) and all("|30x1|" in row.signature and row.floor is None for row in scores)
    p = network.features(rows)
    if token == "vis-tgan2":
        assert scores[0].value == pytest.approx(by_hand(p), rel=1e-6)
    assert 1 < scores[0].value < 5


@pytest.mark.parametrize(("token", "name"), [("is", "inception-2015-head"), ("vis", "c3d-ucf101")])
def test_without_weights_the_cell_says_how_to_get_them(token, name):
    (row,) = scoring.score(ArraySource(noise(12, 0)), ArraySource(noise(12, 1)), metrics=[token])
    assert row.value is None and row.note == f'n/a: no weights "{name}"; run "vbench-ctl weights fetch {name}"'


def test_fid_can_be_had_without_the_head(real_weights):
    """The file of a package has no head, so that it serves FID and not the Inception score."""
    networks.use(networks.Place(str(real_weights)))
    head = networks.missing(tokens.metric("is").features)
    assert networks.missing(tokens.metric("fid").features) == ""
    assert head == "" or "weights fetch inception-2015-head" in head
    networks.use(networks.Place())
