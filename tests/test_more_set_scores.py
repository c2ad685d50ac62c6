"""Diversity of samples, best and worst of samples, FVD at infinite N and FVD of prefixes."""

import re
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
import tiny
from test_features_golden import draw
from tiny import Named, colours, noise

from vbench_ctl import networks, registry, scoring, tokens
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.features import lpips_net, vgg
from vbench_ctl.metrics import diversity, fvdinf, psnr
from vbench_ctl.sources import ArraySource
from vbench_ctl.statistics.frechet import frechet, frechet_infinity

REAL = {f"test/{n}": clip for n, clip in enumerate(noise(6, 0))}
MADE = {f"test/{n}@0#{k}": noise(1, 100 + 10 * n + k)[0] for n in range(6) for k in range(3)}


def score(*metrics: str, **changes) -> list:
    protocol = tiny.protocol(**{"samples": 3, "metric_frames": {}} | changes)
    return scoring.score(Named(MADE), Named(REAL), protocol, metrics)


def samples(n: int, count: int = 3) -> list[np.ndarray]:
    return [MADE[f"test/{n}@0#{k}"] for k in range(count)]


def over_pairs(clips, distance) -> float:
    return np.mean([distance(a, b) for a, b in permutations(clips, 2)], axis=0)


# Diversity


def test_diversity_of_pixels_is_the_mean_over_ordered_pairs():
    (row,) = score("diversity-pixel", metric_frames={"diversity-pixel": "predicted"})
    curves = [
        over_pairs(samples(n), lambda a, b: ((a / 255 - b / 255) ** 2)[2:].mean(axis=(1, 2, 3))) for n in range(6)
    ]
    assert row.per_frame == pytest.approx(np.mean(curves, axis=0), rel=1e-12)
    assert row.value == pytest.approx(np.mean(curves), rel=1e-12) and row.low < row.value < row.high
    assert row.signature == "diversity|pixel|-|4f|6x3|pixel,pairs,rgb,range1,exact|v1" and row.floor is None


def test_the_greatest_diversity_is_that_of_black_and_white():
    black = np.zeros((5, 4, 4, 3), np.uint8)
    assert diversity.values([black, black + 255], of="pixel") == pytest.approx(np.ones(5))
    assert not diversity.values([black, black, black], of="pixel").any()


def test_diversity_of_features_and_its_scale(toy):
    plain, scaled = score("diversity", "diversity-dti3d", metric_samples={"diversity-dti3d": 2})
    rows = [colours(np.stack(samples(n))) for n in range(6)]
    assert plain.value == pytest.approx(np.mean([over_pairs(one, lambda a, b: ((a - b) ** 2).mean()) for one in rows]))
    pairs = [((one[0] - one[1]) ** 2).mean() for one in rows]
    assert scaled.value == pytest.approx(1000 * np.mean(pairs)) and "|6x2|" in scaled.signature


def test_diversity_with_weights_of_the_users_own_is_named_after_them(monkeypatch):
    """They see other colours than the network of the variant; what the protocol says of the variant holds for both."""
    colour = {"dti3d-16": [0], "dti3d-16-1a2b3c4d": [1]}

    class Seen(tiny.Toy):
        def __init__(self, weights: str) -> None:
            super().__init__()
            self.weights = weights

        def features(self, clips, **options):
            return super().features(clips)[:, colour[self.weights]]

    monkeypatch.setattr(networks, "_extractor", lambda network, weights, *how: Seen(weights))
    monkeypatch.setattr(networks, "_sha256", lambda features, place: features.weights[-8:])
    monkeypatch.setattr(networks, "missing", lambda features: "")
    said = {"metric_samples": {"diversity-dti3d": 2}, "metric_batches": {"diversity-dti3d": "4 clips"}}
    found = score("diversity-dti3d", "diversity-dti3d-1a2b3c4d", **said)
    for row, seen in zip(found, colour.values(), strict=True):
        pairs = [(colours(np.stack(samples(n, 2)))[:, seen] * [[1], [-1]]).sum() ** 2 for n in range(4)]
        assert row.value == pytest.approx(1000 * np.mean(pairs), rel=1e-4) and "|4x2|" in row.signature
    assert [row.metric for row in found] == ["diversity-dti3d", "diversity-dti3d-1a2b3c4d"]
    assert found[1].signature.startswith("diversity|dti3d-1a2b3c4d|dti3d-16-1a2b3c4d:")
    assert tokens.token_like(found[1].signature) == "diversity-dti3d-1a2b3c4d"


def test_a_release_that_drops_the_last_batch_of_starts(toy):
    batches = dict.fromkeys(("diversity", "psnr"), "4 clips")
    row, paired = score("diversity", "psnr", metric_batches=batches, samples=3)
    rows = [colours(np.stack(samples(n))) for n in range(4)]
    assert row.value == pytest.approx(np.mean([over_pairs(one, lambda a, b: ((a - b) ** 2).mean()) for one in rows]))
    assert row.n == paired.n == 4
    (row,) = score("diversity", metric_batches={"diversity": "7 clips"})
    assert row.value is None and "6 clips make no batch of 7" in row.note


@pytest.mark.parametrize("of", ["i3d", "vgg", "lpips", "pixel"])
def test_one_sample_has_no_diversity(of):
    with pytest.raises(VbenchError, match="there is 1; score with a protocol that asks for several samples"):
        diversity.values([noise(1, 0)[0]], of=of)


def test_samples_of_unlike_shapes_are_refused():
    with pytest.raises(VbenchError, match="differ in length or size"):
        diversity.values([noise(1, 0)[0], noise(1, 0, frames=5)[0]], of="pixel")


class AsUint8:
    """VGG16 given golden/cinn's float frames in the place of uint8 ones, which only number them."""

    def __init__(self, network: vgg.VGG, frames) -> None:
        self.network, self.frames = network, frames

    def maps(self, numbers: np.ndarray, batch: int):
        assert len(numbers) % batch == 0
        for part in numbers[:, 0, 0, 0].reshape(-1, batch):
            with vgg.torch.inference_mode():
                x = vgg.normalised((self.frames[part.tolist()] + 1) / 2)
                yield self.network(vgg.shared.resize_planes(x, vgg.SIZE, "torch_half_pixel", "stretch"))


def test_diversity_of_vgg_is_the_released_one(shared, monkeypatch):
    cinn: Path = shared / "golden" / "cinn"
    with np.load(cinn / "io_diversity.npz") as golden:
        videos = vgg.torch.from_numpy(golden["in/vgg_videos"])[0]  # (K, T, 3, H, W) of the first start
        layers = [float(golden[f"out/div_vgg_item0_layer{number}"]) for number in range(5)]
    extractor = AsUint8(vgg.load(draw(cinn / "keys_lpips_vgg.json")).network, videos.flatten(0, 1))
    monkeypatch.setattr(networks, "_extractor", lambda *asked: extractor)
    count, frames = videos.shape[:2]
    numbers = np.arange(count * frames, dtype=np.uint8).reshape(count, frames, 1, 1, 1)
    found = diversity.values(list(np.broadcast_to(numbers, (count, frames, 1, 1, 3))), of="vgg")
    assert found.shape == (frames,) and found.mean() == pytest.approx(np.mean(layers), rel=1e-5)


def test_diversity_of_lpips_is_the_mean_over_pairs(shared, monkeypatch):
    extractor = lpips_net.load(draw(shared / "golden" / "cinn" / "keys_lpips_vgg.json"), net="vgg")
    monkeypatch.setattr(networks, "_extractor", lambda *asked: extractor)
    clips = list(noise(4, 3, frames=2, size=(16, 20)))
    expected = np.mean([extractor.distances(a, b)[0] for a, b in combinations(clips, 2)], axis=0)
    assert diversity.values(clips, of="lpips") == pytest.approx(expected, rel=1e-4)


# Best and worst of samples


def test_best_mean_and_worst_can_be_asked_for():
    names = ["psnr", "psnr@best", "psnr@mean", "psnr@worst", "mse@worst"]
    plain, best, mean, worst, mse = score(*names)
    means = np.array([[psnr.values(REAL[f"test/{n}"], one).mean() for one in samples(n)] for n in range(6)])
    assert best.value == means.max(axis=1).mean() and worst.value == means.min(axis=1).mean()
    assert plain.value == mean.value == pytest.approx(means.mean())
    assert mse.value > score("mse@best")[0].value
    assert [row.metric for row in (plain, best, mean, worst, mse)] == names
    assert "|6x3:worst|" in worst.signature and mean.signature == plain.signature
    assert np.mean(worst.per_frame) == pytest.approx(worst.value)


def test_what_a_protocol_says_of_a_metric_holds_for_its_best():
    changes = {"metric_samples": {"psnr": 2}, "metric_frames": {"psnr": "predicted"}, "aggregate": "best"}
    plain, best, worst = score("psnr", "psnr@best", "psnr@worst", **changes)
    assert (plain.value, plain.signature) == (best.value, best.signature)
    means = np.array([[psnr.values(REAL[f"test/{n}"][2:], one[2:]).mean() for one in samples(n, 2)] for n in range(6)])
    assert (best.value, worst.value) == (means.max(axis=1).mean(), means.min(axis=1).mean())


def test_an_aggregate_that_cannot_be_is_refused():
    with pytest.raises(UsageError, match='no aggregate of samples "bset"; did you mean "best"'):
        tokens.metric("psnr@bset")
    with pytest.raises(UsageError, match=r"fvd-ccvs@best: fvd does not compare clip with clip.*ask for fvd-ccvs"):
        tokens.metric("fvd-ccvs@best")
    with pytest.raises(UsageError, match=r"psnr@best: tiny-c2-p4@1 uses 1 sample per case.*ask for psnr"):
        score("psnr@best", metric_samples={"psnr": 1})
    with pytest.raises(UsageError, match="without a protocol uses 1 sample"):
        scoring.score(ArraySource(noise(2, 0)), ArraySource(noise(2, 1)), metrics=["psnr@best"])


# FVD


def test_fvd_at_infinite_n(toy):
    real, fake = noise(600, 0, 1, (3, 3)), noise(520, 1, 1, (3, 3))
    fvdinf_row, fvd_row = scoring.score(ArraySource(fake), ArraySource(real), metrics=["fvdinf", "fvd"])
    line = frechet_infinity(colours(real), colours(fake), points=15, seed=0)
    assert fvdinf_row.value == pytest.approx(line.value, abs=1e-4 * fvd_row.value)
    assert fvdinf_row.low < fvdinf_row.value < fvdinf_row.high
    assert fvdinf_row.floor is None  # halves of 300 are too few
    said = re.search(r"; FVD over 1/N has slope (\S+) and R2 (\S+)$", fvdinf_row.note)
    assert [float(number) for number in said.groups()] == pytest.approx([line.slope, line.r2], rel=1e-2)
    assert fvdinf_row.signature.endswith("|tf,ddof1,15 sizes from N/4 or 256,seed0|v1")


def test_fvd_at_infinite_n_takes_the_bias_out():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(20000, 30)), rng.normal(size=(1024, 30))
    biased, found = frechet(real, fake), fvdinf.estimate(real, fake, list(map(str, range(1024))))
    assert abs(found.value) < 0.2 * biased
    assert found.low < 0 < found.high and found.high < biased
    assert fvdinf.estimate(real, fake, ["one video"] * 1024)[:3] == (found.value, None, None)


def test_too_few_clips_for_infinity_are_refused(toy):
    (row,) = scoring.score(ArraySource(noise(30, 0)), ArraySource(noise(30, 1)), metrics=["fvdinf"])
    assert row.value is None
    assert "30 generated clips are too few to extrapolate from, expected at least 512" in row.note


def test_fvd_of_prefixes_grows_frame_by_frame(toy):
    real, fake = noise(12, 0, frames=13), noise(12, 1, frames=13)
    plain, curve = scoring.score(ArraySource(fake), ArraySource(real), metrics=["fvd", "fvd-prefix"])
    assert curve.per_frame == pytest.approx(
        [frechet(colours(real[:, :t]), colours(fake[:, :t])) for t in range(10, 14)], rel=1e-4
    )
    assert (curve.value, curve.low, curve.high, curve.floor) == (plain.value, plain.low, plain.high, plain.floor)
    assert curve.per_frame[-1] == curve.value and plain.per_frame == []
    assert curve.signature == "fvd|prefix|i3d-k400:01234567|13f|12x1|tf,ddof1,prefixes from 10f|v1"
    assert toy.seen == 4 * 24  # the longest prefix is the whole clip, which plain FVD has looked at


def test_prefixes_of_unlike_lengths_are_refused(toy):
    for fake, real, said in (
        (noise(4, 0, 9), noise(4, 1, 9), r"the clips have 9 to 9 frames, and prefixes need .* 10 frames or more"),
        (
            [*noise(2, 0, 10), *noise(2, 1, 12)],
            noise(4, 2, 12),
            "the clips have 10 to 12 frames, and prefixes need clips of one length",
        ),
        (
            [*noise(8, 0, 10), *noise(8, 1, 12)],
            noise(4, 2, 12),
            r"features of some clips are \(1, 3\) and those of others \(3, 3\).*cut them",
        ),
        (
            noise(4, 0, 11),
            noise(4, 1, 12),
            "the real clips have 3 prefixes and the generated ones 2; cut them",
        ),
    ):
        (row,) = scoring.score(ArraySource(fake), ArraySource(real), metrics=["fvd-prefix"])
        assert row.value is None and re.search(said, row.note)


def test_fvd_of_sliding_windows(toy):
    """Windows of 16 frames, 8 apart: what is left over at the end belongs to none."""
    real, fake = noise(12, 0, frames=35), noise(12, 1, frames=35)
    (row,) = scoring.score(ArraySource(fake), ArraySource(real), metrics=["fvd-sliding"])
    assert row.per_frame == pytest.approx(
        [frechet(colours(real[:, t : t + 16]), colours(fake[:, t : t + 16])) for t in (0, 8, 16)], rel=1e-4
    )
    assert row.value == row.per_frame[-1] and row.low < row.value < row.high
    assert row.signature == "fvd|sliding|i3d-k400:01234567|35f|12x1|tf,ddof1,windows of 16f every 8|v1"
    (row,) = scoring.score(ArraySource(fake[:, :15]), ArraySource(real[:, :15]), metrics=["fvd-sliding"])
    assert row.value is None and "15 frames, and windows need clips of one length of 16 frames or more" in row.note


def test_nothing_is_needed_for_pixels():
    leaf = registry.load("metrics", "diversity")
    assert leaf.features(of="pixel") is None and leaf.features().network == "i3d"
