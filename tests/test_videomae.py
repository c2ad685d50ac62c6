"""VideoMAE V2, the network of content-debiased FVD: the formulas of a transformer, its file, its rows."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import special
from tiny import noise

from vbench_ctl import networks, scoring, weights
from vbench_ctl.errors import VbenchError
from vbench_ctl.features import videomae
from vbench_ctl.sources import ArraySource
from vbench_ctl.statistics.frechet import frechet


class Sizes(NamedTuple):
    width: int = 24
    hidden: int = 40
    depth: int = 2
    heads: int = 3


@pytest.fixture
def tensors(monkeypatch) -> dict[str, np.ndarray]:
    """The tensors of a small one, named as in the released file; patches of 56 pixels make 4 x 4 of a frame."""
    sizes = Sizes()
    for name, value in {**sizes._asdict(), "patch": 56}.items():
        monkeypatch.setattr(videomae, name.upper(), value)
    rng = np.random.default_rng(0)
    found = {name: tuple(value.shape) for name, value in videomae.VideoMAE().state_dict().items()}
    found |= {"head.weight": (174, sizes.width), "head.bias": (174,)}
    values = {name: rng.normal(0, 1 / max(np.prod(shape[1:]), 25) ** 0.5, shape) for name, shape in found.items()}
    values |= {name: values[name] + 1 for name in values if "norm" in name and name.endswith("weight")}
    return {f"module.{name}": value.astype(np.float32) for name, value in values.items()}


def normalised(x: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * scale + shift


def straightforward(tensors: dict[str, np.ndarray], clip: np.ndarray) -> np.ndarray:
    """Compute the features of one clip (16, H, W, 3) token by token and head by head, in float64."""
    sizes = Sizes()
    t = {name.removeprefix("module."): value.astype(np.float64) for name, value in tensors.items()}
    planes = torch.from_numpy(clip.astype(np.float64) / 255).movedim(-1, 1)
    planes = F.interpolate(planes, (224, 224), mode="bilinear", align_corners=False)
    kernel = t["patch_embed.proj.weight"].reshape(sizes.width, -1)
    tokens = []
    for step in range(8):
        for row in range(4):
            for column in range(4):
                part = planes[2 * step : 2 * step + 2, :, 56 * row : 56 * row + 56, 56 * column : 56 * column + 56]
                place = np.array(
                    [
                        (np.sin, np.cos)[c % 2](len(tokens) / 10000 ** (2 * (c // 2) / sizes.width))
                        for c in range(sizes.width)
                    ]
                )
                tokens.append(kernel @ part.transpose(0, 1).numpy().ravel() + t["patch_embed.proj.bias"] + place)
    x = np.array(tokens)
    for at in range(sizes.depth):
        b = {name.removeprefix(f"blocks.{at}."): value for name, value in t.items() if name.startswith(f"blocks.{at}.")}
        seen = normalised(x, b["norm1.weight"], b["norm1.bias"])
        q, k, v = np.split(seen @ b["attn.qkv.weight"].T, 3, axis=1)
        q, v = q + b["attn.q_bias"], v + b["attn.v_bias"]
        heads = []
        for one in np.split(np.arange(sizes.width), sizes.heads):
            score = special.softmax(q[:, one] @ k[:, one].T / len(one) ** 0.5, axis=1)
            heads.append(score @ v[:, one])
        x = x + np.concatenate(heads, axis=1) @ b["attn.proj.weight"].T + b["attn.proj.bias"]
        seen = normalised(x, b["norm2.weight"], b["norm2.bias"]) @ b["mlp.fc1.weight"].T + b["mlp.fc1.bias"]
        seen = seen * special.ndtr(seen)
        x = x + seen @ b["mlp.fc2.weight"].T + b["mlp.fc2.bias"]
    return normalised(x.mean(0), t["fc_norm.weight"], t["fc_norm.bias"])


def test_features_are_those_of_the_formulas(tensors):
    extractor = videomae.load(tensors)
    clips = noise(2, 0, frames=16)
    found = extractor.features(clips, batch=2)
    np.testing.assert_allclose(found, [straightforward(tensors, clip) for clip in clips], atol=2e-5)
    assert found.dtype == np.float32 and np.ptp(found, axis=0).min() > 1e-4
    np.testing.assert_allclose(extractor.features(clips[::-1], batch=1)[::-1], found, atol=1e-5)
    videomae.self_test(extractor)


def test_other_lengths_stretch_the_places_in_time(tensors):
    extractor = videomae.load(tensors)
    clips = noise(1, 0, frames=24)
    assert len(videomae.places(12)) == 12 * 16 and np.isfinite(extractor.features(clips)).all()
    np.testing.assert_array_equal(extractor.features(clips[:, :17]), extractor.features(clips[:, :16]))
    with pytest.raises(VbenchError, match="the clips have 1 frames and this network needs at least 2"):
        extractor.features(clips[:, :1])


def test_the_giant_has_its_thousand_million_parameters():
    """Less those of the 174 classes."""
    width, hidden = 1408, 6144
    block = 4 * width * width + 3 * width + 2 * width * hidden + hidden + width + 4 * width
    patches = 3 * 2 * 14 * 14 * width + width
    with torch.device("meta"):
        network = videomae.VideoMAE()
    assert sum(value.numel() for value in network.parameters()) == 40 * block + patches + 2 * width == 1_011_610_752
    assert len(videomae.places(8)) == 8 * 16 * 16


def test_the_file_is_added_and_scored(tensors, tmp_path):
    file = tmp_path / "vit_g_hybrid_pt_1200e_ssv2_ft.pth"
    torch.save(
        {"module": {name.removeprefix("module."): torch.from_numpy(value) for name, value in tensors.items()}}, file
    )
    name = weights.add("videomae-ssv2", file)
    assert name.startswith("videomae-ssv2-")  # of another width than the released one: the user's own
    real, fake = noise(6, 0, frames=16), noise(6, 1, frames=16)
    token = f"fvd-cdfvd-videomae-{name.rpartition('-')[2]}"
    (row,) = scoring.score(ArraySource(fake), ArraySource(real), metrics=[token], place=networks.Place())
    extractor = videomae.load(tensors)
    a, b = (extractor.features(clips, through=128) for clips in (real, fake))
    assert row.value == pytest.approx(frechet(a, b, ddof=0), rel=1e-4)
    assert row.signature.startswith("fvd|cdfvd-videomae") and ",through 128x128,ddof0|" in row.signature


def test_another_network_s_file_is_refused():
    with pytest.raises(VbenchError, match=r"videomae: the file has 1 tensors named conv\.weight"):
        videomae.load({"conv.weight": np.zeros(3, np.float32)})
    with pytest.raises(
        VbenchError, match=r"videomae: patch_embed\.proj\.weight is \(3,\), expected \(1408, 3, 2, 14, 14\)"
    ):
        videomae.load({"patch_embed.proj.weight": np.zeros(3, np.float32)})
