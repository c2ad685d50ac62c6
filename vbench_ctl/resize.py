"""Resizes frames by two matrices, one per axis, so that every published way of resizing is the same code.

The ways differ by where an output pixel looks in the input and how widely. Published FVDs use four of them.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from vbench_ctl.errors import unknown

if TYPE_CHECKING:  # a list of datasets must not wait for torch
    from torch import Tensor

ASPECTS = ("stretch", "shorter_side_crop")
BAND = 32  # new pixels at a time: they look at few of the old ones, so that most of a whole matrix is zeros


def resize(frames: "Tensor", size: tuple[int, int], mode: str, aspect: str = "stretch") -> "Tensor":
    """Resize float frames (..., H, W) to `size` = (height, width); the crop, where there is one, is the centre."""
    import torch

    if aspect not in ASPECTS:
        raise unknown("aspect", aspect, ASPECTS)
    full = _covering(frames.shape[-2:], size) if aspect == "shorter_side_crop" else size
    rows, columns = zip(frames.shape[-2:], full, size, strict=True)
    if len(set(columns)) > 1:
        bands = _bands(mode, *columns)
        frames = torch.cat([frames[..., seen] @ torch.tensor(part.T).to(frames) for seen, part in bands], -1)
    if len(set(rows)) > 1:
        bands = _bands(mode, *rows)
        frames = torch.cat([torch.tensor(part).to(frames) @ frames[..., seen, :] for seen, part in bands], -2)
    return frames


def pictures(clip: np.ndarray, size: tuple[int, int], mode: str, aspect: str = "stretch") -> np.ndarray:
    """Resize uint8 pictures (T, H, W, 3) to `size` = (height, width), rounded to the nearest level."""
    import torch

    if clip.shape[1:3] == size:
        return clip
    planes = torch.from_numpy(np.ascontiguousarray(clip.transpose(0, 3, 1, 2))).float()
    levels = resize(planes, size, mode, aspect).round_().clamp_(0, 255).to(torch.uint8)
    return np.ascontiguousarray(levels.numpy().transpose(0, 2, 3, 1))


def masks(clip: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize masks (T, H, W) to `size` = (height, width): each new pixel is the one under its centre."""
    rows, columns = (
        ((np.arange(new) + 0.5) * (old / new)).astype(int) for old, new in zip(clip.shape[1:], size, strict=True)
    )
    return clip[:, rows[:, None], columns]


def matrix(mode: str, before: int, after: int) -> np.ndarray:
    """Return the float64 matrix (after, before) that resizes one axis."""
    if mode not in MODES:
        raise unknown("resize mode", mode, MODES)
    return MODES[mode](before, after)


def _covering(have: tuple[int, ...], size: tuple[int, int]) -> tuple[int, int]:
    """Return the smallest size of the same aspect ratio that covers `size`."""
    scale = max(size[0] / have[0], size[1] / have[1])
    # A length that comes out a hair above an integer must not be rounded up.
    height, width = (math.ceil(round(length * scale, 6)) for length in have)
    return height, width


@lru_cache(maxsize=64)
def _bands(mode: str, before: int, full: int, after: int) -> list[tuple[slice, np.ndarray]]:
    """Return, for some new pixels after another, the old ones that they look at and the matrix from these to them."""
    start = (full - after) // 2
    whole, bands = matrix(mode, before, full)[start : start + after], []
    for first in range(0, after, BAND):
        band = whole[first : first + BAND]
        used = np.flatnonzero(band.any(0))
        seen = slice(used[0], used[-1] + 1)
        bands.append((seen, band[:, seen]))
    return bands


def _two_taps(source: np.ndarray, before: int) -> np.ndarray:
    """Interpolate linearly at the positions `source`; beyond the border, the border repeats."""
    source = source.clip(0, before - 1)
    low = np.floor(source).astype(int)
    high = np.minimum(low + 1, before - 1)
    rows, weight = np.arange(len(source)), source - low
    out = np.zeros((len(source), before))
    np.add.at(out, (rows, low), 1 - weight)
    np.add.at(out, (rows, high), weight)
    return out


def _tf1_legacy(before: int, after: int) -> np.ndarray:
    return _two_taps(np.arange(after) * (before / after), before)


def _torch_half_pixel(before: int, after: int) -> np.ndarray:
    return _two_taps((np.arange(after) + 0.5) * (before / after) - 0.5, before)


def _align_corners(before: int, after: int) -> np.ndarray:
    return _two_taps(np.arange(after) * ((before - 1) / max(after - 1, 1)), before)


def _antialiased(kernel: Callable[[np.ndarray], np.ndarray], radius: float, before: int, after: int) -> np.ndarray:
    """Widen the kernel by the shrinking factor, cut it at the border and normalise, as Pillow does."""
    scale = max(before / after, 1.0)
    centres = (np.arange(after) + 0.5) * (before / after)
    # Pillow takes the pixels whose centre is within the radius after rounding, src/libImaging/Resample.c
    first = np.floor(centres - radius * scale + 0.5).clip(0)
    last = np.floor(centres + radius * scale + 0.5).clip(max=before)
    pixels = np.arange(before)
    taps = kernel((pixels + 0.5 - centres[:, None]) / scale)
    taps *= (pixels >= first[:, None]) & (pixels < last[:, None])
    return taps / taps.sum(1, keepdims=True)


def _triangle(x: np.ndarray) -> np.ndarray:
    return (1 - np.abs(x)).clip(0)


def _cubic(x: np.ndarray) -> np.ndarray:
    a, x = -0.5, np.abs(x)  # Pillow's bicubic has a = -0.5, PyTorch's without antialiasing -0.75
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0))


MODES: dict[str, Callable[[int, int], np.ndarray]] = {
    # TensorFlow 1's resize_bilinear: no half-pixel shift, no antialiasing; the original FVD resizes so.
    "tf1_legacy": _tf1_legacy,
    # PyTorch's interpolate(mode="bilinear", align_corners=False).
    "torch_half_pixel": _torch_half_pixel,
    # PyTorch's interpolate(mode="bilinear", align_corners=True).
    "align_corners": _align_corners,
    # Pillow's BILINEAR on float images; PyTorch's antialias=True.
    "pil_antialias": lambda before, after: _antialiased(_triangle, 1.0, before, after),
    # Pillow's BICUBIC on float images; clean-fid resizes so.
    "pil_bicubic": lambda before, after: _antialiased(_cubic, 2.0, before, after),
}
