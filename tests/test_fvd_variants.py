"""Each FVD in print beside its release's own words: F.interpolate where it resizes, its divisor, its batch norms' eps."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import linalg
from torch import Tensor, nn

from vbench_ctl import tokens
from vbench_ctl.features import i3d
from vbench_ctl.metrics import fvd

CLIPS, FRAMES, HEIGHT, WIDTH, SIDE = 10, 9, 250, 321, 224
PLACES = (
    [100, 17],
    [57, 201],
)  # rows and columns where the tiny network looks: off the centre, where ways of resizing differ
VARIANCE, MEAN, BIAS = 1e-3, 0.1, 100.0  # of the tiny batch norm: a small variance, so that eps is felt


class Tiny(nn.Module):
    """One layer of I3D at two places, averaged over time: clips (N, 3, T, 224, 224) -> (N, 8)."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.unit = i3d.Unit(3, 4, 1, eps=eps)
        with torch.no_grad():
            self.unit.conv3d.weight.copy_(kernel()[..., None, None, None])
        self.unit.bn.running_var.fill_(VARIANCE)
        self.unit.bn.running_mean.fill_(MEAN)
        self.unit.bn.bias.data.fill_(BIAS)
        self.eval().unit.fold()

    def forward(self, x: Tensor) -> Tensor:
        return self.unit(x)[..., *PLACES].mean(2).flatten(1)


def kernel() -> Tensor:
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(0))


def frames_of(clips: np.ndarray) -> Tensor:
    """Return uint8 clips (N, T, H, W, 3) as float64 pictures (N T, 3, H, W)."""
    return torch.from_numpy(clips).double().flatten(0, 1).movedim(-1, 1)


def stretched(frames: Tensor) -> Tensor:
    return F.interpolate(frames, (SIDE, SIDE), mode="bilinear", align_corners=False)


def with_corners(frames: Tensor) -> Tensor:
    return F.interpolate(frames, (SIDE, SIDE), mode="bilinear", align_corners=True)


def trilinear(frames: Tensor) -> Tensor:
    clips = frames.unflatten(0, (-1, FRAMES)).transpose(1, 2)
    sized = F.interpolate(clips, (FRAMES, SIDE, SIDE), mode="trilinear", align_corners=False)
    return sized.transpose(1, 2).flatten(0, 1)


def cropped(frames: Tensor) -> Tensor:
    """Scale the shorter side to 224, the longer one rounded up, and cut the centre."""
    longer = -(-WIDTH * SIDE // HEIGHT)
    left = (longer - SIDE) // 2
    return F.interpolate(frames, (SIDE, longer), mode="bilinear", align_corners=False)[..., left : left + SIDE]


def through_128(frames: Tensor) -> Tensor:
    """Make 8-bit squares of 128 first, antialiased, their centre cut, as the release's loader does; then stretch."""
    longer = -(-WIDTH * 128 // HEIGHT)
    left = (longer - 128) // 2
    small = F.interpolate(frames / 255, (128, longer), mode="bilinear", align_corners=False, antialias=True)
    return stretched((small[..., left : left + 128] * 255).floor())


def tf1(frames: Tensor) -> Tensor:
    """Look at source = output * in / out, without a half-pixel shift."""
    rows, columns = (2 * torch.arange(SIDE).double() * size / SIDE / (size - 1) - 1 for size in (HEIGHT, WIDTH))
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
    return F.grid_sample(frames, grid.expand(len(frames), -1, -1, -1), padding_mode="border", align_corners=True)


def tf1_of_bgr(frames: Tensor) -> Tensor:
    return tf1(frames[:, [2, 1, 0]])


class Release(NamedTuple):
    """What one does to clips and to features."""

    resize: Callable[[Tensor], Tensor]
    ddof: int = 1
    eps: float = 1e-3
    lowest: float = -1  # of the range that the network sees, up to 1


RELEASES = {
    "fvd": Release(tf1),
    "fvd-styleganv": Release(stretched, ddof=0),
    "fvd-common-styleganv": Release(cropped),
    "fvd-videogpt": Release(cropped, eps=1e-5),
    "fvd-cdfvd-i3d": Release(through_128, ddof=0, eps=1e-5),
    "fvd-araachie": Release(trilinear),
    "fvd-cinn-log": Release(with_corners, lowest=0),
    "fvd-ccvs": Release(tf1_of_bgr),
}


def expected(real: np.ndarray, fake: np.ndarray, release: Release) -> float:
    """Return the distance in the words of the papers, in float64, with SciPy's matrix root."""

    def features(clips: np.ndarray) -> np.ndarray:
        x = release.resize(frames_of(clips))[..., *PLACES] / 255  # (N T, 3, 2)
        x = torch.einsum("oc,ncp->nop", kernel().double(), x * (1 - release.lowest) + release.lowest)
        x = ((x - MEAN) / (VARIANCE + release.eps) ** 0.5 + BIAS).relu()
        return x.unflatten(0, (-1, FRAMES)).mean(1).flatten(1).numpy()

    a, b = features(real), features(fake)
    covs = [np.cov(rows, rowvar=False, ddof=release.ddof) for rows in (a, b)]
    root = linalg.sqrtm(covs[0] @ covs[1]).real
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(covs[0] + covs[1] - 2 * root))


@pytest.fixture(scope="module")
def sets() -> tuple[np.ndarray, np.ndarray]:
    """Two sets of noise; the second is darker, more so in red, and cut to the left."""
    rng = np.random.default_rng(0)
    real, fake = rng.integers(0, 256, (2, CLIPS, FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    fake[..., 0] //= 2
    return real, fake


@pytest.fixture(scope="module")
def wanted(sets) -> dict[str, float]:
    return {token: expected(*sets, release) for token, release in RELEASES.items()}


def test_every_pipeline_of_i3d_is_here():
    whole = {f"fvd-{name}".rstrip("-") for name, options in fvd.VARIANTS.items() if "parts" not in options}
    assert RELEASES.keys() == whole - {"fvd-cdfvd-videomae"}  # test_videomae.py has it


@pytest.mark.parametrize("token", RELEASES)
def test_a_pipeline_is_what_its_release_does(token, sets, wanted, monkeypatch):
    monkeypatch.setattr(i3d, "built", lambda weights, device, eps: Tiny(eps))
    each = tokens.metric(token)
    assert each.features
    extractor = i3d.load({}, **dict(each.features.loading))
    preset = i3d.PRESETS[dict(each.features.options)["preset"]]
    real, fake = (extractor.features(clips, **preset) for clips in sets)
    found = each.module.estimate(real, fake, [""] * CLIPS, 0, **each.options).value
    assert [name for name, value in wanted.items() if found == pytest.approx(value, rel=1e-4)] == [token]
