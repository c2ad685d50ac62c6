"""Self-supervision of CCVS: a picture pulled out of shape, and the flow and mask that lead back from it.

All fields are pixels, x before y. What is random comes in as numbers, so that the functions are functions.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from vbench_ctl.baselines.ccvs.layers import warped

FILLING = 0.5  # sigma of the 3 x 3 filter that fills holes
TRUNCATE = 4.0  # sigmas at which the Gaussian of the fields ends, SciPy's default


@dataclass(frozen=True)
class Draws:
    """What is random of a batch: numbers in [0, 1)."""

    fields: Tensor  # (B, 3, H, W): shifts along x and y, and the mask
    zoom: Tensor  # (B,)
    blur: Tensor  # (B,)


@dataclass(frozen=True)
class Strength:
    """How far pictures are pulled; lengths in parts of their side."""

    alpha: float = 3.0
    sigma: float = 0.1
    zoom: tuple[float, float] = (0.9, 1.1)
    blur: tuple[float, float] = (0.0, 2.0)  # sigma in pixels; nothing is blurred when both are 0
    corruption: float = 0.5  # 0: none of the context is blanked; above 0: about half, whatever it is, as released


@dataclass(frozen=True)
class Views:
    """Two views of each picture, and how one comes from the other."""

    context: Tensor  # (B, 3, H, W), where blanked 0
    target: Tensor  # (B, 3, H, W)
    flow: Tensor  # (B, 2, H, W): at each pixel of the target, where in the context it is
    mask: Tensor  # (B, 1, H, W) bool: pixels of the target that the context does not show


def drawn(count: int, size: tuple[int, int], device: torch.device) -> Draws:
    """Draw for a batch from torch's generator."""
    return Draws(
        torch.rand(count, 3, *size, device=device),
        torch.rand(count, device=device),
        torch.rand(count, device=device),
    )


def views(pictures: Tensor, draws: Draws, strength: Strength, size: tuple[int, int] | None = None) -> Views:
    """Pull pictures (B, 3, H, W) in [-1, 1] out of shape; `size` is what the views are resized to."""
    height, width = pictures.shape[2:]
    size = size or (height, width)
    fields = smooth(2 * draws.fields - 1, strength.sigma) * (strength.alpha * height)
    elastic, blank = fields[:, :2], (fields[:, 2:] > 1 - 2 * strength.corruption).float()
    low, high = strength.zoom
    zoom = low + draws.zoom * (high - low)
    near = zoom_flow(zoom, (height, width))
    larger = (zoom < 1).view(-1, 1, 1, 1)
    # The view that is magnified: the target where zoom < 1, else the context.
    context = warped(pictures, torch.where(larger, elastic, elastic + near))
    target = torch.where(larger, warped(pictures, near), pictures)
    flow = inverse(elastic) + torch.where(larger, near, -near)
    mask = warped(blank, flow, outside=1.0) if strength.corruption else torch.zeros_like(blank)
    if size != (height, width):
        context, target, blank, mask = (_resized(each, size) for each in (context, target, blank, mask))
        flow = _resized(flow, size) * (size[0] / height)
    if any(strength.blur):
        least, most = strength.blur
        sigmas = (least + draws.blur * (most - least)).tolist()
        context = torch.stack([blurred(one, sigma) for one, sigma in zip(context, sigmas, strict=True)])
    if strength.corruption:
        context = context * (1 - blank)
    return Views(context, target, flow, mask > 0.5)


def zoom_flow(zoom: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the field (B, 2, H, W) that magnifies by zoom or 1 / zoom, whichever magnifies."""
    lost = 1 - torch.minimum(zoom, 1 / zoom)

    def along(side: int) -> Tensor:
        place = torch.arange(side, dtype=zoom.dtype, device=zoom.device)
        return lost[:, None] * side * (0.5 - place / (side - 1))

    shape = (len(zoom), *size)
    return torch.stack([along(size[1])[:, None, :].expand(shape), along(size[0])[:, :, None].expand(shape)], 1)


def inverse(flow: Tensor) -> Tensor:
    """Return about the inverse of a field (B, 2, H, W): each vector is put, reversed, where it points to.

    Of several at one pixel the last in reading order stays; those that leave the picture land on its first row or
    column, as released. Holes are filled from what is around them, one pixel deep at a time.
    """
    count, _, height, width = flow.shape
    rows = torch.arange(height, device=flow.device).view(-1, 1)
    columns = torch.arange(width, device=flow.device).view(1, -1)
    x, y = columns + flow[:, 0], rows + flow[:, 1]
    x = torch.where((x >= 0) & (x <= width - 1), x, 0)
    y = torch.where((y >= 0) & (y <= height - 1), y, 0)
    places = (y.long() * width + x.long()).flatten(1)
    order = torch.arange(height * width, device=flow.device).expand(count, -1)
    # The largest number wins, so that a GPU gives the same result each time.
    winner = torch.full_like(places, -1).scatter_reduce(1, places, order, "amax")
    filled = winner >= 0
    vectors = -flow.flatten(2).gather(2, winner.clamp(min=0)[:, None].expand(-1, 2, -1))
    values = torch.where(filled[:, None], vectors, 0).view_as(flow)
    return _without_holes(values, filled.view(count, 1, height, width))


def _without_holes(values: Tensor, filled: Tensor) -> Tensor:
    kernel = filling_kernel(values)
    cross = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]], device=values.device, dtype=values.dtype)
    while not filled.all():
        there = filled.to(values.dtype)
        border = ~filled & (_convolved(there, cross) > 0)
        weights = _convolved(there, kernel)
        around = _convolved(values * there, kernel) / torch.where(weights > 0, weights, 1)
        values = torch.where(border, around, values)
        filled = filled | border
    return values


def filling_kernel(like: Tensor) -> Tensor:
    """Return the normalised 3 x 3 Gaussian."""
    taps = torch.exp(-(torch.tensor([-1.0, 0, 1]) ** 2) / (2 * FILLING**2)).to(like)
    return taps.outer(taps) / taps.sum() ** 2


def _convolved(x: Tensor, kernel: Tensor) -> Tensor:
    channels = x.shape[1]
    return F.conv2d(x, kernel.expand(channels, 1, 3, 3), padding=1, groups=channels)


def smooth(fields: Tensor, sigma: float) -> Tensor:
    """Smooth fields (..., H, W) by a Gaussian whose sigma is a part of H, mirrored at the borders (SciPy's "reflect")."""
    height, width = fields.shape[-2:]
    rows, columns = (_smoothing(side, sigma * height).to(fields) for side in (height, width))
    return rows @ fields @ columns.t()


@lru_cache(maxsize=8)
def _smoothing(side: int, sigma: float) -> Tensor:
    """Return the filter as a matrix (side, side)."""
    radius = int(TRUNCATE * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1)
    taps = torch.exp(-(offsets.double() ** 2) / (2 * sigma**2))
    places = (torch.arange(side)[:, None] + offsets) % (2 * side)
    places = torch.where(places < side, places, 2 * side - 1 - places)
    return torch.zeros(side, side, dtype=torch.double).scatter_add_(1, places, (taps / taps.sum()).expand(side, -1))


def blurred(picture: Tensor, sigma: float) -> Tensor:
    """Blur one picture (3, H, W) by a Gaussian of 3 sigmas, but of 3 to 13 pixels, mirrored at the borders."""
    side = min(max(math.floor(3 * sigma) | 1, 3), 13)
    offsets = torch.arange(side, device=picture.device, dtype=picture.dtype) - side // 2
    taps = torch.exp(-(offsets**2) / (2 * max(sigma, 1e-6) ** 2))
    taps = taps / taps.sum()
    kernel = taps.outer(taps).expand(len(picture), 1, side, side)
    return F.conv2d(F.pad(picture[None], [side // 2] * 4, mode="reflect"), kernel, groups=len(picture))[0]


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=False)
